// From numbers to pixels and back, and where to put ticks.

/** A straight scale from [a, b] to pixels [p, q]. */
export function linear([a, b], [p, q]) {
  const slope = (q - p) / (b - a || 1);
  const scale = (value) => p + (value - a) * slope;
  return Object.assign(scale, {
    invert: (pixel) => a + (pixel - p) / slope,
    domain: [a, b],
    ticks: (n) => even(a, b, n),
  });
}

/** A logarithmic one; zero and below go to its lower end. */
export function logarithmic([a, b], range) {
  const inner = linear([Math.log10(a), Math.log10(b)], range);
  const scale = (value) => (value > 0 ? inner(Math.log10(value)) : range[0]);
  return Object.assign(scale, {
    invert: (pixel) => 10 ** inner.invert(pixel),
    domain: [a, b],
    ticks: (n) => decades(a, b, n),
  });
}

/** The range of the finite numbers in some lists (above zero on a log scale), with a margin; null without any. */
export function extent(lists, isLog) {
  let low = Infinity;
  let high = -Infinity;
  for (const list of lists) {
    for (const value of list) {
      if (!Number.isFinite(value) || (isLog && value <= 0)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (low > high) return null;
  if (isLog) return high / low < 1.5 ? [low / 2, high * 2] : [low / (high / low) ** 0.05, high * (high / low) ** 0.05];
  const margin = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
  return [low - margin, high + margin];
}

/** Round numbers, about n of them. */
function even(a, b, n) {
  const raw = (b - a) / Math.max(1, n) || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const size = power * [1, 2, 5, 10].find((m) => m * power >= raw * 0.999);
  const found = [];
  for (let k = Math.ceil(a / size - 1e-9); k * size <= b + size * 1e-9; k += 1)
    found.push(Number((k * size).toPrecision(12)));
  return found;
}

/** Powers of ten; with few of them in reach, 3 (and 2, 5) times powers of ten as well. */
function decades(a, b, n) {
  const span = Math.log10(b / a);
  const factors = span < 0.8 ? [1, 1.5, 2, 3, 5, 7] : span < 1.6 ? [1, 2, 5] : span < 3 ? [1, 3] : [1];
  const every = Math.max(1, Math.ceil(span / n));
  const found = [];
  for (let k = Math.floor(Math.log10(a)); k <= Math.ceil(Math.log10(b)); k += 1) {
    if (k % every !== 0) continue;
    found.push(...factors.map((m) => Number((m * 10 ** k).toPrecision(12))));
  }
  return found.filter((value) => value >= a && value <= b);
}
