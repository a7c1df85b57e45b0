// Curves over steps: the layers, one line each, and the loss below them on the same steps.

import { s, put } from './dom.js';
import { number, shorten } from './format.js';
import { holding, smooth } from './grid.js';
import { axis } from './heatmap.js';
import { extent, linear, logarithmic } from './scales.js';

const SMOOTH = 9; // readings in a running median
const TOP = 8;
const AXIS = 22;

export class Lines {
  /** `on.point(point, place)` is told what is under the pointer, null where nothing is. */
  constructor(name, on) {
    this.on = on;
    this.element = s('svg', {
      class: 'lines',
      role: 'img',
      'aria-label': name,
      onmousemove: (event) => this.move(event),
      onmouseleave: () => this.on.point(null),
    });
  }

  /** Each series: {name, table, values, color, strong}. `range`: of the numbers, as in other runs beside this one. */
  draw({ series, frame, height, isLog, range, threshold, marks = [], name }) {
    const scale = (isLog ? logarithmic : linear)(range ?? [1, 10], [TOP + height, TOP]);
    Object.assign(this, { series, frame, scale, height });
    const [left, right, bottom] = [frame.left, frame.left + frame.plot, TOP + height];
    const ticks = scale.ticks(Math.max(3, Math.floor(height / 34)));
    const beyond = threshold !== undefined && threshold >= scale.domain[0] && threshold <= scale.domain[1];
    this.hair = s('line', { class: 'hair', y1: TOP, y2: bottom, visibility: 'hidden' });
    this.dot = s('circle', { class: 'dot', r: 4, visibility: 'hidden' });
    this.element.setAttribute('width', frame.width);
    this.element.setAttribute('height', bottom + AXIS);
    const clip = `clip-${Math.random().toString(36).slice(2)}`;
    put(
      this.element,
      s('clipPath', { id: clip }, s('rect', { x: left, y: 0, width: frame.plot, height: bottom + 1 })),
      beyond
        ? s('rect', {
            class: 'below',
            x: left,
            y: scale(threshold),
            width: frame.plot,
            height: bottom - scale(threshold),
          })
        : null,
      ticks.map((tick) => [
        s('line', { class: 'gridline', x1: left, x2: right, y1: scale(tick), y2: scale(tick) }),
        s('text', { x: left - 8, y: scale(tick) + 4, 'text-anchor': 'end' }, number(tick)),
      ]),
      s('text', { class: 'title', x: 0, y: TOP + 4 }, shorten(name, Math.floor((left - 34) / 6.6))),
      marks.map((at) => s('line', { class: 'mark', x1: frame.x(at), x2: frame.x(at), y1: TOP, y2: bottom })),
      s(
        'g',
        { 'clip-path': `url(#${clip})` },
        series.map((one) => this.curve(one)),
      ),
      beyond
        ? s('line', { class: 'threshold', x1: left, x2: right, y1: scale(threshold), y2: scale(threshold) })
        : null,
      beyond
        ? s(
            'text',
            { class: 'threshold', x: right - 4, y: scale(threshold) - 5, 'text-anchor': 'end' },
            `measurable from ${number(threshold)}`,
          )
        : null,
      axis(frame, bottom),
      this.hair,
      this.dot,
    );
  }

  curve({ name, table, values, color, strong }) {
    const faint = s('path', { d: this.path(table, values), stroke: color, class: 'reading', fill: 'none' });
    const bold = s('path', {
      d: this.path(table, smooth(values, SMOOTH)),
      stroke: color,
      class: 'median',
      fill: 'none',
    });
    const broken = Array.from(table.at).filter((_, k) => Number.isNaN(values[k]) || Math.abs(values[k]) === Infinity);
    const ticks = broken.map((at) => `M${this.frame.x(at).toFixed(1)} ${TOP - 6}v6`).join('');
    const lost = s('path', { d: ticks, class: 'lost', fill: 'none' }, s('title', {}, 'not a finite number'));
    return s(
      'g',
      { class: `series${strong ? ' strong' : ''}`, 'data-name': name },
      faint,
      bold,
      strong === undefined ? lost : null,
    );
  }

  path(table, values) {
    let text = '';
    let pen = 'M';
    for (let k = 0; k < values.length; k += 1) {
      if (Number.isNaN(values[k])) {
        pen = 'M';
        continue;
      }
      const y = Math.max(-1e4, Math.min(1e4, this.scale(values[k])));
      text += `${pen}${this.frame.x(table.at[k]).toFixed(1)} ${y.toFixed(1)}`;
      pen = 'L';
    }
    return text;
  }

  /** A hairline at this step; none without a step. */
  hover(at) {
    if (!this.hair) return;
    this.hair.setAttribute('visibility', at === null ? 'hidden' : 'visible');
    if (at === null) this.dot.setAttribute('visibility', 'hidden');
    else ['x1', 'x2'].forEach((end) => this.hair.setAttribute(end, this.frame.x(at)));
  }

  move(event) {
    if (!this.frame) return;
    const bounds = this.element.getBoundingClientRect();
    const [px, py] = [event.clientX - bounds.left, event.clientY - bounds.top];
    const inside = px >= this.frame.left && px <= this.frame.left + this.frame.plot;
    const found = inside ? this.nearest(this.frame.x.invert(px), py) : null;
    for (const group of this.element.querySelectorAll('.series')) {
      group.classList.toggle('pointed', group.dataset.name === found?.name && this.series.length > 1);
    }
    if (found) {
      this.dot.setAttribute('cx', this.frame.x(found.step));
      this.dot.setAttribute('cy', this.scale(found.value));
      this.dot.setAttribute('fill', found.color);
    }
    this.dot.setAttribute('visibility', found ? 'visible' : 'hidden');
    this.on.point(found, { x: event.clientX, y: event.clientY });
  }

  nearest(step, py) {
    let best = null;
    for (const { name, table, values, color } of this.series) {
      const k = holding(table, step);
      if (k < 0 || Number.isNaN(values[k])) continue;
      const away = Math.abs(this.scale(values[k]) - py);
      if (!best || away < best.away) best = { name, color, step: table.at[k], value: values[k], away };
    }
    return best;
  }
}

/** The range that these series need on an axis, with a threshold in sight if there is one. */
export const range = (series, isLog, threshold) =>
  extent([...series.map(({ values }) => values), threshold === undefined ? [] : [threshold]], isLog);
