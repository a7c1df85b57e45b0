// Numbers, steps, times and names as people read them.

/** Three significant digits; infinities and what was not measured in words. */
export function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return 'not measured';
  if (value === Infinity) return '∞';
  if (value === -Infinity) return '−∞';
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(2).replace('-', '−').replace('e+', 'e');
  return String(Number(value.toPrecision(3))).replace('-', '−');
}

/** A step, its thousands set apart. */
export const step = (value) => Math.round(value).toLocaleString('en-US').replaceAll(',', '\u202f');

/** How long ago, from seconds. */
export function ago(seconds) {
  const units = [
    [86400, 'day'],
    [3600, 'hour'],
    [60, 'minute'],
    [1, 'second'],
  ];
  const [size, unit] = units.find(([n]) => seconds >= n) ?? [1, 'second'];
  const count = Math.max(0, Math.floor(seconds / size));
  return seconds < 2 ? 'just now' : `${count} ${unit}${count === 1 ? '' : 's'} ago`;
}

/** "a, b and 3 more". */
export function list(names, most = 4) {
  if (names.length <= most) return names.join(', ');
  return `${names.slice(0, most - 1).join(', ')} and ${names.length - most + 1} more`;
}

/** At most `length` characters, the middle left out: the ends of layers' names tell them apart. */
export function shorten(name, length) {
  if (name.length <= length) return name;
  const tail = Math.ceil((length - 1) * 0.6);
  return `${name.slice(0, length - 1 - tail)}…${name.slice(-tail)}`;
}

/** "1 layer", "2 layers". */
export const count = (n, noun) => `${n} ${noun}${n === 1 ? '' : 's'}`;

/** The first sentence of a text; the whole one where there is no other. */
export const sentence = (text) => text.split(/(?<=\.)\s/, 1)[0];
