// Measurements over steps: from when to when each holds, and which rows are shown in which order.

const GAP = 3; // a measurement holds until the next, but no longer than this many of the usual distances

/** End of each measurement's validity, in steps. */
export function ends(at) {
  const gaps = Array.from(at.subarray(1), (step, k) => step - at[k]).sort((a, b) => a - b);
  const usual = gaps.length ? gaps[gaps.length >> 1] : 1;
  return Float64Array.from(at, (step, k) =>
    k + 1 < at.length ? Math.min(at[k + 1], step + GAP * usual) : step + usual,
  );
}

/** The measurement that holds at a step, -1 where none does. */
export function holding(table, step) {
  let [low, high] = [0, table.at.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (table.at[middle] <= step) low = middle + 1;
    else high = middle;
  }
  return low > 0 && step < table.ends[low - 1] ? low - 1 : -1;
}

/** One row of a table, over all its steps. */
export function series(table, row) {
  const found = new Float32Array(table.steps);
  for (let k = 0; k < table.steps; k += 1) found[k] = table.values[k * table.rows + row];
  return found;
}

/** Quantum layers on top, then the others: {name, row, kind, weights}. */
export function order(source, layers) {
  const rows = source.layers.map((name, row) => ({
    name,
    row,
    kind: source.kinds[row],
    weights: source.n_weights[row],
  }));
  const quantum = rows.filter((row) => row.kind === 'quantum');
  return layers === 'quantum' ? quantum : [...quantum, ...rows.filter((row) => row.kind !== 'quantum')];
}

/** Median of a row's last values that were measured, NaN without any. */
export function recent(table, row, most = 20) {
  const found = [];
  for (let k = table.steps - 1; k >= 0 && found.length < most; k -= 1) {
    const value = table.values[k * table.rows + row];
    if (!Number.isNaN(value)) found.push(value);
  }
  return median(found);
}

/** The running median of `width` values, which a single outlier can't move. */
export function smooth(values, width) {
  return values.map((value, k) => {
    if (Number.isNaN(value)) return NaN;
    const reach = Math.min(width >> 1, k, values.length - 1 - k);
    const near = [];
    for (let i = k - reach; i <= k + reach; i += 1) if (!Number.isNaN(values[i])) near.push(values[i]);
    return median(near);
  });
}

function median(values) {
  if (!values.length) return NaN;
  values.sort((a, b) => a - b);
  return values[values.length >> 1];
}
