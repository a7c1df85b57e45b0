// One run's data for what is shown: asked for once, and again only when the run has gone on or something else is shown.

import * as api from './api.js';
import { ends } from './grid.js';

/** The data of a run for this state; `seen` is its entry in /runs, `old` what was there before. */
export async function load(seen, state, old) {
  const unchanged = old && old.seen.time === seen.time && old.seen.last_step === seen.last_step;
  const info = unchanged ? old.info : await api.run(seen.run);
  const name = state.source in info.sources ? state.source : Object.keys(info.sources)[0];
  const source = info.sources[name];
  const known = unchanged && old.asked;
  const same = (...keys) => known && keys.every((key) => String(old.asked[key]) === String(state[key]));
  const curve = info.curves.includes(state.curve) ? state.curve : preferred(info.curves);
  const there = source?.columns.includes(state.quantity);
  const [table, loss, detail] = await Promise.all([
    same('source', 'quantity', 'range')
      ? old.table
      : there
        ? held(api.stats(seen.run, name, state.quantity, state.range))
        : null,
    same('curve', 'range') ? old.loss : curve ? held(api.curve(seen.run, curve, state.range)) : null,
    same('source', 'quantity', 'range', 'layer') ? old.detail : detailOf(seen.run, name, source, state),
  ]);
  const whole = there && state.quantity === 'snr' && !state.range;
  const snr = whole
    ? table
    : same('source') && old.snr
      ? old.snr
      : source?.columns.includes('snr')
        ? await held(api.stats(seen.run, name, 'snr'))
        : null;
  return { seen, info, name, source, table, loss, curve, detail, snr, asked: { ...state } };
}

/** The curve that is most likely the training loss. */
function preferred(curves) {
  const losses = curves.filter((tag) => /loss|energy|cost/i.test(tag));
  const exact = ['train_loss', 'train_loss_step', 'train/loss', 'loss', 'loss_step', 'training_loss'];
  return (
    exact.find((tag) => losses.includes(tag)) ?? losses.find((tag) => !/val|test|epoch/i.test(tag)) ?? losses[0] ?? ''
  );
}

/** One layer: its numbers at the last measurement, and its weights where they were logged. */
async function detailOf(run, name, source, state) {
  const row = source?.layers.indexOf(state.layer) ?? -1;
  if (row < 0) return null;
  const column = ['snr', 'median_abs'].includes(state.quantity) ? state.quantity : 'snr';
  const logged = source.per_weight.includes(state.layer);
  const [weights, ...columns] = await Promise.all([
    logged ? held(api.weights(run, name, state.layer, column, state.range)) : null,
    ...source.columns.map((one) => api.stats(run, name, one, state.range)),
  ]);
  const numbers = columns.map((table, i) => [
    source.columns[i],
    table.values[(table.steps - 1) * table.rows + row] ?? NaN,
  ]);
  return { layer: state.layer, row, weights, column, step: columns[0]?.at.at(-1), numbers };
}

async function held(asked) {
  const table = await asked;
  return { ...table, ends: ends(table.at) };
}
