// Rows of cells over steps on a canvas, with a cursor that the mouse and the arrow keys move.

import { css, UNMEASURED } from './colors.js';
import { h, put, s } from './dom.js';
import { shorten, step as stepText } from './format.js';
import { holding } from './grid.js';

const AXIS = 22;
const EDGE = 24; // beside the key's bar, for half a number
const LABEL = 13; // pixels a row's name needs

export class Heatmap {
  /**
   * `on.cell(cell, place)` is told where the cursor is, null where nowhere; `on.open(name)` which row was chosen;
   * `on.zoom(factor, step)` by how much the range of steps around one is to grow.
   */
  constructor(name, on) {
    this.on = on;
    this.cursor = null;
    this.canvas = h('canvas', { class: 'cells' });
    this.over = s('svg', { class: 'over', 'aria-hidden': 'true' });
    this.element = h(
      'div',
      {
        class: 'heatmap',
        tabindex: 0,
        role: 'application',
        'aria-label': `${name}. Arrow keys move from cell to cell, Enter opens a row, plus and minus zoom.`,
        onkeydown: (event) => this.key(event),
        onmousemove: (event) => this.move(event),
        onmouseleave: () => this.leave(),
        onclick: (event) => this.click(event),
        onblur: () => this.leave(),
      },
      this.canvas,
      this.over,
    );
  }

  /** `table` with ends, `rows` in their order, `color` of `cells`, `frame` {left, width, plot, x}, the selected row. */
  draw({ table, rows, color, frame, selected, marks = [] }) {
    Object.assign(this, { table, rows, frame });
    this.size = Math.max(3, Math.min(24, Math.floor(264 / Math.max(1, rows.length))));
    this.height = this.size * rows.length;
    this.element.style.height = `${this.height + AXIS}px`;
    this.paint(color);
    this.annotate(selected, marks);
    if (this.cursor && (this.cursor.index >= rows.length || this.cursor.k >= table.at.length)) this.cursor = null;
    this.point();
  }

  paint(color) {
    const { table, rows, frame } = this;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.max(1, Math.round(frame.plot * ratio)), Math.max(1, Math.round(this.height * ratio))];
    Object.assign(this.canvas, { width, height });
    Object.assign(this.canvas.style, { left: `${frame.left}px`, width: `${frame.plot}px`, height: `${this.height}px` });
    const image = new ImageData(width, Math.max(1, rows.length));
    const pixels = new Uint32Array(image.data.buffer);
    const pack = ([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r; // little-endian, as all of today's machines
    const grey = pack(UNMEASURED);
    for (let column = 0; column < width; column += 1) {
      const step = frame.x.invert(frame.left + (column + 0.5) / ratio);
      if (step < table.at[0] || step >= table.ends.at(-1)) continue; // before the run, or after it
      const k = holding(table, step);
      rows.forEach(({ row }, index) => {
        const shade = k < 0 ? null : color.of(table.values[k * table.rows + row]);
        pixels[index * width + column] = shade ? pack(shade) : grey;
      });
    }
    const small = h('canvas', { width, height: Math.max(1, rows.length) });
    small.getContext('2d').putImageData(image, 0, 0);
    const context = this.canvas.getContext('2d');
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, width, height);
  }

  annotate(selected, marks) {
    const { rows, frame, size, height } = this;
    const quantum = rows.filter((row) => row.kind === 'quantum').length;
    const every = Math.ceil(LABEL / size);
    const letters = Math.floor((frame.left - 10) / 6.6);
    const label = ({ name, kind }, index) =>
      index % every !== 0 && name !== selected
        ? null
        : s(
            'text',
            {
              class: `row ${kind}${name === selected ? ' selected' : ''}`,
              x: frame.left - 8,
              y: (index + 0.5) * size + 4,
            },
            shorten(name, letters),
            s('title', {}, name),
          );
    const chosen = rows.findIndex((row) => row.name === selected);
    this.box = s('rect', { class: 'cursor', visibility: 'hidden' });
    this.hair = s('line', { class: 'hair', y1: 0, y2: height, visibility: 'hidden' });
    this.over.setAttribute('width', frame.width);
    this.over.setAttribute('height', height + AXIS);
    const border = { x1: 0, x2: frame.left + frame.plot, y1: quantum * size, y2: quantum * size };
    put(
      this.over,
      rows.map(label),
      quantum > 0 && quantum < rows.length ? s('line', { class: 'border', ...border }) : null,
      marks.map((at) => s('line', { class: 'mark', x1: frame.x(at), x2: frame.x(at), y1: 0, y2: height })),
      chosen < 0
        ? null
        : s('rect', {
            class: 'selected',
            x: frame.left - 1,
            y: chosen * size - 0.5,
            width: frame.plot + 2,
            height: size + 1,
          }),
      axis(frame, height),
      this.hair,
      this.box,
    );
  }

  /** A hairline at this step, wherever the pointer is; none without a step. */
  hover(at) {
    if (!this.hair) return;
    this.hair.setAttribute('visibility', at === null ? 'hidden' : 'visible');
    if (at !== null) ['x1', 'x2'].forEach((end) => this.hair.setAttribute(end, this.frame.x(at)));
  }

  move(event) {
    const bounds = this.element.getBoundingClientRect();
    const index = Math.floor((event.clientY - bounds.top) / this.size);
    const k = this.table ? holding(this.table, this.frame.x.invert(event.clientX - bounds.left)) : -1;
    const inside = index >= 0 && index < this.rows?.length && k >= 0 && event.clientX - bounds.left >= this.frame.left;
    this.to(inside ? { index, k } : null, { x: event.clientX, y: event.clientY });
  }

  click(event) {
    const index = Math.floor((event.clientY - this.element.getBoundingClientRect().top) / this.size);
    if (index >= 0 && index < this.rows?.length) this.on.open(this.rows[index].name);
  }

  leave() {
    this.to(null);
  }

  key(event) {
    if (!this.table?.at.length || !this.rows.length) return;
    const [last, bottom] = [this.table.at.length - 1, this.rows.length - 1];
    const { index, k } = this.cursor ?? { index: 0, k: last + 1 };
    const page = Math.max(1, Math.round(last / 20));
    const there = {
      ArrowLeft: [index, k - 1],
      ArrowRight: [index, k + 1],
      ArrowUp: [index - 1, Math.min(k, last)],
      ArrowDown: [this.cursor ? index + 1 : index, Math.min(k, last)],
      PageUp: [index, k - page],
      PageDown: [index, k + page],
      Home: [index, 0],
      End: [index, last],
    }[event.key];
    if (there) {
      const [row, column] = [Math.max(0, Math.min(bottom, there[0])), Math.max(0, Math.min(last, there[1]))];
      this.to({ index: row, k: column });
    } else if ('+=-'.includes(event.key)) this.on.zoom(event.key === '-' ? 2 : 0.5, this.table.at[Math.min(k, last)]);
    else if ((event.key === 'Enter' || event.key === ' ') && this.cursor) this.on.open(this.rows[index].name);
    else if (event.key === 'Escape') this.on.open('');
    else return;
    event.preventDefault();
  }

  to(cursor, place) {
    this.cursor = cursor;
    this.point();
    if (!cursor) return this.on.cell(null);
    const { index, k } = cursor;
    const bounds = this.element.getBoundingClientRect();
    const { x, y, width } = this.bounds(cursor);
    const value = this.table.values[k * this.table.rows + this.rows[index].row];
    const cell = { ...this.rows[index], step: this.table.at[k], value };
    return this.on.cell(cell, place ?? { x: bounds.left + x + width, y: bounds.top + y + this.size });
  }

  point() {
    if (!this.box) return;
    this.box.setAttribute('visibility', this.cursor ? 'visible' : 'hidden');
    if (!this.cursor) return;
    const bounds = this.bounds(this.cursor);
    Object.entries(bounds).forEach(([name, value]) => this.box.setAttribute(name, value));
  }

  bounds({ index, k }) {
    const { left, plot, x } = this.frame;
    const from = Math.max(left, x(this.table.at[k]));
    const to = Math.min(left + plot, x(this.table.ends[k]));
    return { x: from, y: index * this.size, width: Math.max(2, to - from), height: this.size };
  }
}

/** The axis of steps below a chart. */
export function axis({ left, plot, x }, top) {
  const ticks = x.ticks(Math.max(2, Math.floor(plot / 90)));
  return s(
    'g',
    { class: 'axis' },
    s('line', { x1: left, x2: left + plot, y1: top + 0.5, y2: top + 0.5 }),
    ticks.map((at) => [
      s('line', { x1: x(at), x2: x(at), y1: top, y2: top + 4 }),
      s('text', { x: x(at), y: top + 16, 'text-anchor': 'middle' }, stepText(at)),
    ]),
  );
}

/** What the colours mean: a bar with numbers below, and what grey is. */
export function key(color, format) {
  const width = 180;
  const at = (value) => Math.max(0, Math.min(1, color.position(value))) * width;
  const bar = Array.from({ length: width / 2 }, (_, i) =>
    s('rect', { x: EDGE + 2 * i, y: 0, width: 2.5, height: 9, fill: css(color.of(color.value((2 * i + 1) / width))) }),
  );
  const names = color.stops.map((stop) =>
    s(
      'text',
      { x: EDGE + at(stop), y: 21, 'text-anchor': 'middle', class: stop === color.threshold ? 'threshold' : '' },
      format(stop),
    ),
  );
  const line = color.diverging
    ? s('line', { class: 'threshold', x1: EDGE + at(color.threshold), x2: EDGE + at(color.threshold), y1: -2, y2: 11 })
    : null;
  const grey = [
    s('rect', { x: width + 2 * EDGE + 6, y: 0, width: 14, height: 9, fill: css(UNMEASURED) }),
    s('text', { x: width + 2 * EDGE + 25, y: 9 }, 'not measured'),
  ];
  return s(
    'svg',
    { class: 'key', width: width + 2 * EDGE + 106, height: 26, viewBox: `0 -3 ${width + 2 * EDGE + 106} 26` },
    bar,
    line,
    names,
    grey,
  );
}
