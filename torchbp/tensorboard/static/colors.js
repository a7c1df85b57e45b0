// Colours that every common colour blindness tells apart: of cells, and of lines.

// ColorBrewer's RdBu: red is below the threshold, blue above. And matplotlib's viridis, for what has no
// threshold, and for lines: nowhere is it as grey as what was not measured.
const DIVERGING = [
  '67001f',
  'b2182b',
  'd6604d',
  'f4a582',
  'fddbc7',
  'f7f7f7',
  'd1e5f0',
  '92c5de',
  '4393c3',
  '2166ac',
  '053061',
];
const VIRIDIS = ['440154', '482878', '3e4989', '31688e', '26828e', '1f9e89', '35b779', '6ece58', 'b5de2b', 'fde725'];
const SIZE = 256;
const SPAN = 10; // the colours reach from threshold / SPAN to threshold * SPAN

/** What was not measured. */
export const UNMEASURED = [189, 189, 189];

/**
 * A scale of colours: `of(value)` is [r, g, b], null for what was not measured; `position(value)` is 0 to 1 and
 * `value(position)` its inverse; `stops` are the values to name in its key.
 */
export function cells({ scale, bad }, range, threshold) {
  const diverging = threshold !== undefined;
  const isLog = scale === 'log';
  const [low, high] = diverging ? [threshold / SPAN, threshold * SPAN] : (range ?? [1, 10]);
  const table = lookup(diverging ? DIVERGING : VIRIDIS, bad === 'high');
  const position = isLog
    ? (v) => (Math.log(v) - Math.log(low)) / Math.log(high / low)
    : (v) => (v - low) / (high - low || 1);
  const of = (value) => {
    if (Number.isNaN(value)) return null;
    if (value === Infinity) return table[SIZE - 1];
    const place = isLog && value <= 0 ? 0 : position(value);
    return table[Math.max(0, Math.min(SIZE - 1, Math.floor(place * SIZE)))];
  };
  const stops = diverging
    ? [low, threshold / 3, threshold, threshold * 3, high]
    : isLog
      ? [low, Math.sqrt(low * high), high]
      : [low, (low + high) / 2, high];
  const value = (part) => (isLog ? low * (high / low) ** part : low + (high - low) * part);
  return { of, position, value, stops, diverging, threshold };
}

/** Colours of n lines in their order, dark to light; away from the background's end. */
export function lines(n, dark) {
  const table = lookup(VIRIDIS, false);
  const [from, to] = dark ? [0.3, 1] : [0, 0.78];
  return Array.from({ length: n }, (_, i) =>
    css(table[Math.floor((from + ((to - from) * i) / Math.max(1, n - 1)) * (SIZE - 1))]),
  );
}

/** As CSS writes it. */
export const css = ([r, g, b]) => `rgb(${r},${g},${b})`;

function lookup(names, reverse) {
  const stops = names.map((name) => [0, 2, 4].map((k) => parseInt(name.slice(k, k + 2), 16)));
  if (reverse) stops.reverse();
  return Array.from({ length: SIZE }, (_, i) => {
    const place = (i / (SIZE - 1)) * (stops.length - 1);
    const k = Math.min(stops.length - 2, Math.floor(place));
    return stops[k].map((c, j) => Math.round(c + (place - k) * (stops[k + 1][j] - c)));
  });
}
