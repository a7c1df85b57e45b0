// The answer in words: is this run on a plateau, where, since when, on what evidence, and what was done.

import { h } from './dom.js';
import { ago, count, list, number, sentence, step as stepText } from './format.js';
import { order, recent } from './grid.js';
import { icon } from './timeline.js';
import { verdict as verdictWords } from './words.js';

const LIVE = 60; // seconds since the last value up to which a run counts as training

/** The card of one run: `info` from /run, `snr` its table or null, `seen` from /runs, `now` the server's time. */
export function headline({ info, source, snr, seen, now, loss }) {
  const verdicts = info.events.filter((one) => one.kind === 'verdict');
  const last = verdicts.at(-1);
  const since = beginning(verdicts);
  const stop = info.events.filter((one) => one.kind === 'stop').at(-1);
  const { title, tone } = verdictWords(last?.data.verdict);
  const layers = snr ? measured(source, snr) : [];
  return h(
    'section',
    { class: `headline ${tone}`, 'aria-label': `Verdict on ${info.run}` },
    h(
      'h2',
      {},
      last ? title : untold(layers),
      last ? [' ', h('span', { class: 'since' }, where(last, since, layers))] : null,
    ),
    h('div', { class: 'facts' }, facts({ layers, snr, seen, now, loss, stop, confidence: last?.data.confidence })),
    last ? because(last, since, info.events) : h('p', { class: 'hint' }, hint(layers)),
    before(verdicts),
  );
}

/** What the run suffered from earlier, and from when to when. */
function before(verdicts) {
  const spans = new Map();
  verdicts.slice(0, -1).forEach(({ step, data }, i) => {
    const { title, tone } = verdictWords(data.verdict);
    if (tone === 'good' || data.verdict === verdicts.at(-1).data.verdict) return;
    spans.set(title, [...(spans.get(title) ?? []), `${stepText(step)} to ${stepText(verdicts[i + 1].step)}`]);
  });
  const told = [...spans].map(([title, steps]) => `${title} (step ${list(steps, 4)})`);
  return told.length ? h('p', { class: 'before' }, h('b', {}, 'Before: '), told.join('; ')) : null;
}

/** The quantum layers, each with the median SNR of its last measurements. */
function measured(source, snr) {
  return order(source, 'quantum').map(({ name, row }) => ({ name, usual: recent(snr, row) }));
}

/** Since when the latest verdict has held: a remedy may have had it given again. */
function beginning(verdicts) {
  const other = verdicts.findLastIndex(({ data }) => data.verdict !== verdicts.at(-1).data.verdict);
  return verdicts[other + 1]?.step;
}

function where({ data }, since, layers) {
  const names = data.layers ?? [];
  const all = names.length > 1 && layers.length && layers.every(({ name }) => names.includes(name));
  const every = layers.length === 2 ? 'both' : `all ${layers.length}`;
  const place = all ? `, in ${every} quantum layers` : names.length ? `, in ${list(names)}` : '';
  return `since step ${stepText(since)}${place}`;
}

function untold(layers) {
  if (!layers.length) return 'No quantum layer was measured';
  const low = layers.filter(({ usual }) => !(usual >= 3)).length;
  if (!low) return 'Every quantum layer has a measurable gradient';
  const have = low === 1 ? 'has' : 'have';
  return `${low} of ${count(layers.length, 'quantum layer')} ${have} a gradient lost in its noise`;
}

const hint = (layers) =>
  layers.length
    ? 'No verdict has been given. A low SNR alone is no plateau: a converged model has one too. With ' +
      'PlateauDetector() among the callbacks, torchbp says which of ten causes it is, and on what evidence, once the ' +
      'loss has stopped falling.'
    : 'The rows below are classical layers. torchbp knows QuantumLayer and TorchQuantum’s modules.';

function facts({ layers, snr, seen, now, loss, stop, confidence }) {
  const usual = layers.map((layer) => layer.usual).filter((value) => !Number.isNaN(value));
  const fact = (name, value, title) => h('div', { class: 'fact', title }, h('span', {}, name), h('b', {}, value));
  const resolved = usual.filter((value) => value >= 3).length;
  const age = now - seen.time;
  return [
    confidence === undefined
      ? null
      : fact(
          'confidence',
          number(Number(confidence)),
          'How clearly the numbers lie on this side of the rule’s lines, 0.5 to 1. It is no probability.',
        ),
    layers.length
      ? fact(
          'measurable layers',
          `${resolved} of ${layers.length}`,
          'Quantum layers whose median SNR over the last 20 measurements is 3 or more',
        )
      : null,
    usual.length
      ? fact(
          'lowest SNR',
          number(Math.min(...usual)),
          'Of the quantum layers, each the median of its last 20 measurements',
        )
      : null,
    loss
      ? fact(loss.name, `${number(loss.first)} → ${number(loss.last)}`, 'First value, and median of the last 20')
      : null,
    snr?.range.length ? fact('step', stepText(snr.range[1]), 'Of the last measurement') : null,
    h(
      'div',
      { class: `fact${age < LIVE && !stop ? ' live' : ''}` },
      h('span', {}, stop ? 'stopped' : 'last value'),
      h('b', {}, stop ? `step ${stepText(stop.step)}` : ago(age)),
    ),
  ];
}

/** Evidence, what was done about it, and what to do. */
function because(last, since, events) {
  const done = events.filter((one) => one.kind !== 'verdict' && one.step >= since);
  const evidence = (last.data.evidence ?? [last.message]).map((line) => h('li', {}, line));
  const action = (one) =>
    h('li', { title: one.message }, icon(one.kind), `step ${stepText(one.step)}: ${sentence(one.message)}`);
  const earlier = events.filter((one) => one.kind !== 'verdict').length - done.length;
  const after = earlier ? `, after ${count(earlier, 'earlier action')}` : '';
  return h(
    'div',
    { class: 'because' },
    h('div', {}, h('h3', {}, 'Evidence'), h('ul', {}, evidence)),
    h(
      'div',
      {},
      h('h3', {}, 'Done about it'),
      done.length ? h('ul', { class: 'done' }, done.slice(-4).map(action)) : h('p', {}, `Nothing${after}.`),
      last.data.advice ? [h('h3', {}, 'To do'), h('p', {}, last.data.advice)] : null,
    ),
  );
}
