// The page "Barren plateaus": keeps the state, asks for data, and has the panels drawn. TensorBoard calls render().

import * as api from './api.js';
import * as download from './download.js';
import { h, put } from './dom.js';
import { Panel } from './panel.js';
import { load } from './run.js';
import { initial, link, read, write } from './state.js';
import { Toolbar } from './toolbar.js';

const EVERY = 5000; // milliseconds from one look for new data to the next
const GAP = 28;

class Page {
  constructor(root) {
    this.state = read();
    this.known = [];
    this.panels = new Map();
    this.turn = 0;
    this.toolbar = new Toolbar({ change: (part) => this.change(part), download: (kind) => this.download(kind) });
    this.note = h('p', { class: 'note', role: 'note', hidden: true });
    this.main = h('main');
    this.said = h('div', { class: 'said', 'aria-live': 'polite' });
    root.append(this.toolbar.element, this.note, this.main, this.said);
    this.message('Reading the log…', 'A large log takes TensorBoard a moment.');
    this.toolbar.element.hidden = true;
  }

  change(part) {
    this.state = { ...this.state, ...part };
    write(this.state);
    return this.refresh();
  }

  /** Look for new data and draw what has changed; of several at once only the last one draws. */
  async refresh() {
    this.turn += 1;
    const turn = this.turn;
    try {
      const { runs, others, now } = await api.runs();
      this.known = runs;
      const names = runs.map(({ run }) => run);
      const wanted = this.state.runs.filter((name) => names.includes(name));
      const chosen = wanted.length ? wanted : names.slice(0, 1);
      const seen = chosen.map((name) => runs.find(({ run }) => run === name));
      const before = (name) => this.panels.get(name)?.data;
      const state = { ...this.state, runs: chosen };
      const data = await Promise.all(seen.map((one) => load(one, state, before(one.run))));
      if (turn !== this.turn) return;
      this.now = now;
      this.toolbar.tell('live');
      if (!runs.length) this.empty(others);
      else this.show(state, data);
    } catch (error) {
      if (turn !== this.turn) return;
      const text = `Can’t read the data: ${error.message}`;
      this.toolbar.tell(`${text} Trying again.`, true);
      if (!this.panels.size)
        this.message('The data can’t be read', `${text} Is TensorBoard still running? This page goes on trying.`);
    }
  }

  show(state, data) {
    this.shown = state;
    this.toolbar.element.hidden = false;
    const old = this.panels;
    this.panels = new Map(data.map((one) => [one.info.run, old.get(one.info.run) ?? this.panel()]));
    const elements = [...this.panels.values()].map((panel) => panel.element);
    if (
      elements.length !== this.main.children.length ||
      elements.some((element, i) => element !== this.main.children[i])
    )
      put(this.main, elements);
    data.forEach((one) => this.panels.get(one.info.run).take(one, state));
    this.toolbar.draw({ state, known: this.known, shown: data, now: this.now, address: link(state) });
    const sources = [...new Set(data.map(({ name }) => name).filter(Boolean))];
    this.note.hidden = sources.length < 2;
    put(
      this.note,
      `These gradients come from different sources (${sources.join(', ')}): their numbers do not compare.`,
    );
    this.draw();
  }

  panel() {
    return new Panel({
      change: (part) => this.change(part),
      hover: (step) => this.panels.forEach((panel) => panel.hover(step)),
      say: (text) => put(this.said, text),
      zoom: (factor, step) => this.zoom(factor, step),
    });
  }

  draw() {
    const panels = [...this.panels.values()];
    const room = this.main.clientWidth;
    if (!panels.length || room < 50) return; // another of TensorBoard's pages is in front
    const columns = Math.max(1, Math.min(panels.length, Math.floor((room + GAP) / (480 + GAP))));
    this.main.style.setProperty('--columns', columns);
    this.main.classList.toggle('wide', panels.length === 1 && room >= 1500);
    const needs = panels.map((panel) => panel.needs);
    const join = (key) => {
      const known = needs.map((one) => one[key]).filter(Boolean);
      return known.length ? [Math.min(...known.map(([a]) => a)), Math.max(...known.map(([, b]) => b))] : null;
    };
    const lossLog = needs.every((one) => one.lossLog || !one.loss);
    const shared = {
      steps: this.state.range ?? join('steps'),
      cellRange: join('cells'),
      lineRange: join('lines'),
      lossRange: lossLog || needs.every((one) => !one.lossLog) ? join('loss') : null,
      now: this.now,
      dark: document.documentElement.classList.contains('dark'),
      title: panels.length > 1,
    };
    this.steps = shared.steps;
    for (const panel of panels) {
      const width = Math.floor(panel.charts.clientWidth);
      const lossRange = shared.lossRange ?? panel.needs.loss;
      panel.draw({ ...shared, width, lossRange, lossLog: shared.lossRange ? lossLog : panel.lossLog });
    }
    performance.mark('torchbp-drawn');
    document.body.dataset.ready = String(Number(document.body.dataset.ready ?? 0) + 1);
  }

  zoom(factor, step) {
    const [a, b] = this.steps;
    const range = [step - (step - a) * factor, step + (b - step) * factor].map(Math.round);
    if (range[1] - range[0] >= 2) this.change({ range: factor > 1 && range[1] - range[0] > 1e9 ? null : range });
  }

  async download(kind) {
    const panels = [...this.panels.values()];
    const background = getComputedStyle(document.body).backgroundColor;
    const blob = {
      csv: () => download.csv(panels, this.state.quantity),
      svg: () => new Blob([download.svg(panels, background).text], { type: 'image/svg+xml' }),
      png: () => download.png(panels, background),
    }[kind];
    download.save(await blob(), `torchbp-${this.state.quantity}.${kind}`);
  }

  empty(others) {
    this.toolbar.element.hidden = true;
    this.note.hidden = true;
    this.panels = new Map();
    const seen = others
      ? `TensorBoard sees ${others} run${others === 1 ? '' : 's'} here, none with`
      : 'There is no run here yet with';
    const code = 'trainer = L.Trainer(callbacks=[GradientSNRMonitor(), PlateauDetector()])  # from torchbp.callbacks';
    this.message(
      'No quantum gradients yet',
      `${seen} data of torchbp. Put its callbacks into the trainer, with a TensorBoardLogger:`,
      h('pre', {}, code),
      h('p', {}, 'A training that has just started shows up by itself after its first measurement.'),
    );
  }

  message(title, text, ...more) {
    put(this.main, h('section', { class: 'message' }, h('h2', {}, title), h('p', {}, text), more));
    document.body.dataset.message = title;
  }
}

/** Light or dark, as TensorBoard around this frame, or else the system. */
function follow(changed) {
  const system = window.matchMedia('(prefers-color-scheme: dark)');
  const outside = () => {
    try {
      return window.parent === window ? null : window.parent.document.body;
    } catch {
      return null;
    }
  };
  const apply = () => {
    const body = outside();
    const dark = body ? body.classList.contains('dark-mode') : system.matches;
    if (document.documentElement.classList.toggle('dark', dark) === dark) changed();
  };
  const body = outside();
  if (body) new MutationObserver(apply).observe(body, { attributes: true, attributeFilter: ['class'] });
  system.addEventListener('change', apply);
  apply();
}

/** What TensorBoard calls when the page is opened. */
export async function render() {
  document.documentElement.lang = 'en';
  const sheet = h('link', { rel: 'stylesheet', href: new URL('./style.css', import.meta.url).href });
  const styled = new Promise((resolve) => ['load', 'error'].forEach((name) => sheet.addEventListener(name, resolve)));
  document.head.append(sheet);
  await styled;
  const page = new Page(document.body);
  follow(() => page.draw());
  new ResizeObserver(() => page.draw()).observe(page.main);
  const address = window.parent === window ? window : window.parent;
  try {
    address.addEventListener('hashchange', () => {
      const state = read();
      if (JSON.stringify(state) !== JSON.stringify({ ...initial(), ...page.state })) page.change(state);
    });
  } catch {
    // a page around this frame that is not TensorBoard's has its address to itself
  }
  let busy = null;
  const look = () => {
    const shown = document.visibilityState === 'visible' && window.innerWidth > 0;
    if (shown) busy ??= page.refresh().finally(() => (busy = null));
    return busy;
  };
  document.addEventListener('visibilitychange', look);
  await page.refresh();
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, EVERY));
    await look();
  }
}
