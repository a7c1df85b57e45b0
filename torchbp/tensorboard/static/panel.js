// One run from top to bottom: the verdict, what happened, the heatmap, the curves, the tables.

import { cells, lines as lineColors } from './colors.js';
import { h, put, s } from './dom.js';
import { count, number, shorten, step as stepText } from './format.js';
import { order, recent, series } from './grid.js';
import { headline } from './headline.js';
import { Heatmap, key } from './heatmap.js';
import { Lines, range } from './lines.js';
import { linear } from './scales.js';
import { Tables } from './tables.js';
import { Timeline } from './timeline.js';
import * as tooltip from './tooltip.js';
import { quantity as quantityWords } from './words.js';
import { zoomable } from './zoom.js';

const MOST_LINES = 12;
const FEW_LINES = 8;
const [LEFT, RIGHT] = [168, 22];

export class Panel {
  /** `on.change(part of the state)`, `on.hover(step or null)`, `on.say(text)` for screen readers. */
  constructor(on) {
    this.on = on;
    this.head = h('div', { class: 'head' });
    this.title = h('h3');
    this.keyPlace = h('div', { class: 'key-place' });
    this.timeline = new Timeline({ chosen: (events) => this.tables.show(events) });
    this.heatmap = new Heatmap('Layers by step', {
      cell: (cell, place) => this.cell(cell, place),
      open: (name) => this.open(name),
      zoom: on.zoom,
    });
    this.detail = h('div', { class: 'detail', hidden: true });
    this.weights = new Heatmap('Weights by step', {
      cell: (cell, place) => this.cell(cell, place),
      open: () => {},
      zoom: on.zoom,
    });
    this.lines = new Lines('Layers over steps', { point: (point, place) => this.point(point, place) });
    this.legend = h('div', { class: 'legend' });
    this.loss = new Lines('Loss over steps', { point: (point, place) => this.point(point, place) });
    this.lossHint = h('p', { class: 'hint' });
    this.tables = new Tables();
    this.charts = h(
      'div',
      { class: 'charts' },
      h('div', { class: 'heading' }, this.title, this.keyPlace),
      this.timeline.element,
      this.heatmap.element,
      this.detail,
      this.lines.element,
      this.legend,
      this.loss.element,
      this.lossHint,
    );
    this.element = h(
      'article',
      { class: 'panel' },
      this.head,
      h('div', { class: 'body' }, this.charts, this.tables.element),
    );
    for (const chart of [this.heatmap, this.lines, this.loss]) {
      zoomable(
        chart.element,
        () => chart.frame,
        (chosen) => on.change({ range: chosen }),
      );
    }
  }

  /** New data; what it needs of the axes is then in `needs`, for runs side by side to share them. */
  take(data, state) {
    Object.assign(this, { data, state, words: quantityWords(state.quantity) });
    this.rows = data.table ? order(data.source, state.layers) : [];
    this.threshold = data.source?.thresholds[state.quantity];
    const chosen = weakest(this.rows, data.table, this.words.bad, state.layer);
    this.curves = chosen.map((row) => ({ ...row, table: data.table, values: series(data.table, row.row) }));
    const loss = data.loss ? series(data.loss, 0) : null;
    this.lossCurve = loss ? [{ name: data.curve, table: data.loss, values: loss }] : [];
    const positive = loss !== null && loss.every((value) => !(value <= 0));
    const lossRange = range(this.lossCurve, positive);
    this.lossLog = positive && lossRange !== null && lossRange[1] / lossRange[0] > 40;
    const tables = [data.table, data.detail?.weights].filter((table) => table?.steps);
    const until = [...tables.map((table) => table.ends.at(-1)), ...(data.loss?.steps ? [data.loss.at.at(-1)] : [])];
    const from = [...tables, data.loss].filter((table) => table?.steps).map((table) => table.at[0]);
    const isLog = this.words.scale === 'log';
    const everything = data.table ? [{ values: data.table.values }] : [];
    this.needs = {
      steps: until.length ? [Math.min(...from), Math.max(...until)] : null,
      cells: range(everything, isLog),
      lines: range(this.curves, isLog, this.threshold),
      loss: range(this.lossCurve, this.lossLog),
      lossLog: this.lossLog,
    };
  }

  /** Draw everything in this width, on axes shared with the panels beside it. */
  draw({ width, steps, cellRange, lineRange, lossRange, lossLog, now, dark, title }) {
    const { data, state } = this;
    const left = width < 700 ? 128 : LEFT;
    const plot = Math.max(120, width - left - RIGHT);
    const frame = { width, left, plot, x: linear(steps ?? [0, 1], [left, left + plot]) };
    this.frame = frame;
    const losses = this.lossCurve[0]?.values;
    const finite = losses ? Array.from(losses).filter(Number.isFinite) : [];
    const loss =
      finite.length && !state.range ? { name: data.curve, first: finite[0], last: recent(data.loss, 0) } : null;
    put(
      this.head,
      title ? h('h1', { title: data.info.run }, shorten(data.info.run, Math.floor(width / 9))) : null,
      headline({ ...data, seen: data.seen, now, loss }),
    );
    const marks = data.info.events
      .map((one) => one.step)
      .filter((at) => at > frame.x.domain[0] && at < frame.x.domain[1]);
    const unique = [...new Set(marks)];
    const some = data.table?.steps && this.rows.length;
    put(
      this.title,
      `${this.words.title} by layer and step`,
      s('title', {}),
      h('span', { class: 'meaning' }, this.subtitle()),
    );
    const color = cells(this.words, cellRange, this.threshold);
    put(this.keyPlace, some ? key(color, number) : null);
    this.timeline.draw({ events: data.info.events, frame, last: Math.min(data.seen.last_step, frame.x.domain[1]) });
    this.heatmap.element.hidden = !some;
    if (some)
      this.heatmap.draw({ table: data.table, rows: this.rows, color, frame, selected: state.layer, marks: unique });
    this.drawDetail(frame, unique);
    this.drawLines(frame, unique, lineRange, dark);
    this.drawLoss(frame, unique, lossRange, lossLog);
    this.tables.draw(data.info.events);
  }

  subtitle() {
    const { data, state, words } = this;
    if (!data.source) return 'This run has no measurements that can be read, only events.';
    if (!data.table) return `This run has no ${words.title.toLowerCase()}.`;
    if (!data.table.steps) return 'Nothing was measured in these steps.';
    const thinned =
      data.table.every > 1
        ? `; every ${data.table.every}th of ${stepText(data.table.total)} measurements, drag to zoom in`
        : '';
    const damaged = data.table.skipped ? `; ${count(data.table.skipped, 'damaged record')} left out` : '';
    const zoomed = state.range ? `; steps ${state.range.map(stepText).join(' to ')}` : '';
    return `${words.meaning}; source ${data.name}${zoomed}${thinned}${damaged}`;
  }

  drawDetail(frame, marks) {
    const { detail } = this.data;
    this.detail.hidden = !detail;
    if (!detail) return;
    const name = h('b', {}, detail.layer);
    const fact = ([column, value]) =>
      h('div', { class: 'fact' }, h('span', {}, quantityWords(column).title), h('b', {}, number(value)));
    const close = h(
      'button',
      { class: 'quiet', onclick: () => this.open(''), 'aria-label': 'Close the layer' },
      'Close',
    );
    const words = quantityWords(detail.column);
    const head = h(
      'div',
      { class: 'heading' },
      h('h3', {}, 'Layer ', name, h('span', { class: 'meaning' }, `at step ${stepText(detail.step ?? 0)}`)),
      close,
    );
    const facts = h('div', { class: 'facts' }, detail.numbers.map(fact));
    if (!detail.weights?.steps) {
      put(
        this.detail,
        head,
        facts,
        h(
          'p',
          { class: 'hint' },
          'Single weights were not logged: GradientSNRMonitor(per_weight=True) writes those of quantum layers.',
        ),
      );
      return;
    }
    const rows = Array.from({ length: detail.weights.rows }, (_, row) => ({
      name: `weight ${row}`,
      row,
      kind: 'quantum',
    }));
    const isLog = words.scale === 'log';
    const threshold = this.data.source.thresholds[detail.column];
    const color = cells(words, range([{ values: detail.weights.values }], isLog), threshold);
    put(
      this.detail,
      head,
      facts,
      h(
        'div',
        { class: 'heading' },
        h('h3', {}, `${detail.column === 'snr' ? 'SNR' : '|gradient|'} of its weights`),
        key(color, number),
      ),
      this.weights.element,
    );
    this.weights.draw({ table: detail.weights, rows, color, frame, selected: '', marks });
  }

  drawLines(frame, marks, lineRange, dark) {
    const { curves, words, state } = this;
    this.lines.element.toggleAttribute('hidden', !curves.length);
    if (!curves.length) return put(this.legend);
    const palette = lineColors(curves.length, dark);
    const drawn = curves.map((curve, i) => ({ ...curve, color: palette[i], strong: curve.name === state.layer }));
    const isLog = words.scale === 'log';
    this.lines.draw({
      series: drawn,
      frame,
      height: 170,
      isLog,
      range: lineRange,
      threshold: this.threshold,
      marks,
      name: words.title,
    });
    const quantum = this.rows.filter((row) => row.kind === 'quantum').length || this.rows.length;
    const which = curves.length < quantum ? `The ${curves.length} weakest of ${quantum}` : '';
    return put(
      this.legend,
      drawn.map(({ name, color }) =>
        h(
          'button',
          { class: name === state.layer ? 'chosen' : '', onclick: () => this.open(name), title: name },
          h('i', { style: `background:${color}` }),
          shorten(name, 28),
        ),
      ),
      h('span', { class: 'hint' }, `${which ? `${which}. ` : ''}Bold: median of 9 measurements.`),
    );
  }

  drawLoss(frame, marks, lossRange, lossLog) {
    const { data } = this;
    const some = data.loss?.steps > 0;
    this.loss.element.toggleAttribute('hidden', !some);
    put(
      this.lossHint,
      some ? null : 'No loss in this run’s scalars: self.log("train_loss", loss) in training_step shows it here.',
    );
    this.lossHint.hidden = some;
    if (!some) return;
    const series = this.lossCurve.map((curve) => ({ ...curve, color: 'var(--loss)' }));
    this.loss.draw({ series, frame, height: 84, isLog: lossLog, range: lossRange, marks, name: data.curve });
  }

  open(name) {
    this.on.change({ layer: name === this.state.layer ? '' : name });
  }

  cell(cell, place) {
    this.on.hover(cell ? cell.step : null);
    if (!cell) return tooltip.hide();
    const isWeight = cell.name.startsWith('weight ') && !this.rows.some((row) => row.name === cell.name);
    const title = isWeight ? (this.data.detail?.column === 'snr' ? 'SNR' : '|gradient|') : this.words.title;
    const threshold = this.data.source.thresholds[isWeight ? this.data.detail.column : this.state.quantity];
    const side =
      threshold === undefined || Number.isNaN(cell.value)
        ? ''
        : cell.value >= threshold
          ? ` (${threshold} or more)`
          : ` (below ${threshold})`;
    const text = `${title} ${number(cell.value)}${side}`;
    const about = isWeight
      ? `of ${this.data.detail.layer}`
      : `${cell.kind}${cell.weights ? `, ${count(cell.weights, 'weight')}` : ''}`;
    tooltip.show(place.x, place.y, cell.name, `step ${stepText(cell.step)}`, text, about);
    return this.on.say(`${cell.name}, step ${cell.step}, ${text}`);
  }

  point(point, place) {
    this.on.hover(point ? point.step : null);
    if (!point) return tooltip.hide();
    return tooltip.show(place.x, place.y, point.name, `step ${stepText(point.step)}`, number(point.value));
  }

  /** A hairline at this step in every chart. */
  hover(at) {
    const inside =
      at !== null && this.frame && at >= this.frame.x.domain[0] && at <= this.frame.x.domain[1] ? at : null;
    for (const chart of [this.heatmap, this.lines, this.loss, this.weights]) chart.hover(inside);
  }
}

/** The rows to draw as lines: all quantum layers, or where they are many the weakest, and the selected one. */
function weakest(rows, table, bad, selected) {
  if (!table?.steps) return [];
  const quantum = rows.filter((row) => row.kind === 'quantum');
  const candidates = quantum.length ? quantum : rows;
  let chosen = candidates;
  if (candidates.length > MOST_LINES) {
    const usual = new Map(candidates.map((one) => [one, recent(table, one.row)]));
    const rank = (one) => (Number.isNaN(usual.get(one)) ? Infinity : (bad === 'high' ? -1 : 1) * usual.get(one));
    const low = new Set([...candidates].sort((a, b) => rank(a) - rank(b)).slice(0, FEW_LINES));
    chosen = candidates.filter((one) => low.has(one));
  }
  const extra = rows.find((row) => row.name === selected);
  return extra && !chosen.includes(extra) ? [...chosen, extra] : chosen;
}
