// The verdicts and the events of a run as tables, the latest first.

import { h, put } from './dom.js';
import { count, list, number, step as stepText } from './format.js';
import { icon } from './timeline.js';
import { event as eventWords, verdict as verdictWords } from './words.js';

const MOST = 200; // rows; the file torchbp_events.jsonl beside the logs has them all
const TOLD = new Set(['verdict', 'confidence', 'evidence', 'advice', 'layers']);

/** Two tables that can be drawn again without losing what was unfolded. */
export class Tables {
  constructor() {
    this.open = new Set();
    this.element = h('div', { class: 'tables' });
  }

  draw(events) {
    const verdicts = events.filter((one) => one.kind === 'verdict').reverse();
    const actions = events.filter((one) => one.kind !== 'verdict').reverse();
    put(
      this.element,
      this.table(
        'Verdicts',
        ['Step', 'Verdict', 'Confidence', 'Evidence'],
        verdicts,
        (one) => this.verdict(one),
        noVerdict,
      ),
      this.table('Events', ['Step', 'Event', 'What was done'], actions, (one) => this.action(one), noEvent),
    );
  }

  /** Bring an event's row into sight and mark it. */
  show(events) {
    const rows = events
      .map((one) => this.element.querySelector(`[data-key="${CSS.escape(keyOf(one))}"]`))
      .filter(Boolean);
    this.element.querySelectorAll('.chosen').forEach((row) => row.classList.remove('chosen'));
    rows.forEach((row) => row.classList.add('chosen'));
    rows[0]?.scrollIntoView({ block: 'center', behavior: 'smooth' });
  }

  table(title, columns, events, row, empty) {
    const head = h(
      'tr',
      {},
      columns.map((name) => h('th', { scope: 'col' }, name)),
    );
    const more = events.length > MOST ? h('p', { class: 'hint' }, `The latest ${MOST} of ${events.length}.`) : null;
    return h(
      'section',
      { class: title.toLowerCase() },
      h('h3', {}, `${title} (${events.length})`),
      events.length
        ? h('table', {}, h('thead', {}, head), h('tbody', {}, events.slice(0, MOST).map(row)))
        : h('p', { class: 'hint' }, empty),
      more,
    );
  }

  verdict(one) {
    const { title, tone } = verdictWords(one.data.verdict);
    const sure = Number(one.data.confidence);
    const names = one.data.layers ?? [];
    const bar = h('span', { class: 'bar' }, h('i', { style: `width:${Math.max(0, Math.min(1, sure)) * 100}%` }));
    const evidence = one.data.evidence ?? [one.message];
    return h(
      'tr',
      { 'data-key': keyOf(one) },
      h('td', { class: 'step' }, stepText(one.step)),
      h(
        'td',
        {},
        h('span', { class: `chip ${tone}` }, title),
        names.length ? h('div', { class: 'names' }, list(names)) : null,
      ),
      h('td', { class: 'confidence' }, Number.isFinite(sure) ? [bar, number(sure)] : ''),
      h(
        'td',
        {},
        this.fold(one, evidence[0] ?? '', [
          evidence.length > 1
            ? h(
                'ul',
                {},
                evidence.slice(1).map((line) => h('li', {}, line)),
              )
            : null,
          names.length > 4 ? h('p', {}, `Layers: ${names.join(', ')}`) : null,
          one.data.advice ? h('p', {}, one.data.advice) : null,
        ]),
      ),
    );
  }

  action(one) {
    const numbers = Object.entries(one.data).filter(([name]) => !TOLD.has(name));
    const why = one.data.verdict ? h('p', {}, `Because of: ${verdictWords(one.data.verdict).title}`) : null;
    const pairs = numbers.map(([name, value]) => [h('dt', {}, name.replaceAll('_', ' ')), h('dd', {}, shown(value))]);
    return h(
      'tr',
      { 'data-key': keyOf(one) },
      h('td', { class: 'step' }, stepText(one.step)),
      h('td', { class: 'kind' }, icon(one.kind), eventWords(one.kind).label),
      h('td', {}, numbers.length || why ? this.fold(one, one.message, [why, h('dl', {}, pairs)]) : one.message),
    );
  }

  fold(one, summary, content) {
    const key = keyOf(one);
    const kept = (event) => (event.target.open ? this.open.add(key) : this.open.delete(key));
    return h('details', { open: this.open.has(key), ontoggle: kept }, h('summary', {}, summary), content);
  }
}

const noVerdict = 'None. PlateauDetector() among the trainer’s callbacks gives verdicts.';
const noEvent = 'None: nothing was done to this run. A remedy among the callbacks says here what it does.';
const keyOf = (one) => `${one.step} ${one.kind} ${one.message}`;

function shown(value) {
  if (typeof value === 'number') return number(value);
  if (Array.isArray(value) && value.length > 8)
    return `${JSON.stringify(value.slice(0, 8)).slice(0, -1)}, …] (${count(value.length, 'value')})`;
  return typeof value === 'string' ? value : JSON.stringify(value);
}
