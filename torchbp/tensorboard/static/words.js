// What verdicts, events and quantities are called, how grave they are, and how they are drawn.

/** Of each verdict: its title, a word for where there is little room, and its tone ("good", "warn", "bad"). */
const VERDICTS = {
  healthy: ['Learning, no plateau', 'learning', 'good'],
  converged: ['Converged', 'done', 'good'],
  barren_plateau: ['Barren plateau', 'plateau', 'bad'],
  noise_induced: ['Plateau made by noise', 'noise', 'bad'],
  diverging: ['Diverging', 'diverging', 'bad'],
  shot_limited: ['Too few shots', 'shots', 'warn'],
  local_minimum: ['Local minimum', 'minimum', 'warn'],
  oscillating: ['Oscillating', 'swings', 'warn'],
  drifting: ['The device drifts', 'drift', 'warn'],
  dead_layer: ['Dead layer', 'dead', 'warn'],
};

/** Title, short title and tone of a verdict; one that a later version may give is shown by its name. */
export function verdict(name) {
  const unknown = name ? [plain(name), plain(name), 'warn'] : ['No verdict yet', 'none', 'none'];
  const [title, short, tone] = VERDICTS[name] ?? unknown;
  return { title, short, tone };
}

/** Of each kind of event: its label, and its mark, a path around (0, 0) in a square of 12. */
const EVENTS = {
  verdict: ['verdict', 'M0-6 6 0 0 6-6 0Z'],
  reset: ['reset', 'M4.6-2.6A5.2 5.2 0 1 0 5 1.6M5-6V-2H1'],
  declined: ['declined', 'M4 0A4 4 0 1 1-4 0 4 4 0 1 1 4 0M-5 5.5 5-5.5'],
  rollback: ['rolled back', 'M6 0H-5M-1-4.5-5.5 0-1 4.5'],
  kept: ['kept', 'M-5.5 0-1.5 4.5 5.5-4.5'],
  natural_gradient: ['natural gradient', 'M-5.5 4C-3-6 0-6 0 0S3 6 5.5-4'],
  layerwise: ['layer by layer', 'M-5 5V1M-1.7 5V-1M1.7 5V-3M5 5V-5.5'],
  fallback: ['gradient-free', 'M-5-5 5 5M5-5-5 5'],
  gradients: ['gradients again', 'M-5.5-4.5H5.5L0 5.5Z'],
  shots: ['shots', 'M-4-2v4M0-5v10M4-2v4'],
  budget: ['budget', 'M5.5 0A5.5 5.5 0 1 1-5.5 0 5.5 5.5 0 1 1 5.5 0M0-3V3'],
  stop: ['stopped', 'M-4.5-4.5h9v9h-9Z'],
  dry_run: ['dry run', 'M-5.5 0h2.5M-1.2 0h2.5M3 0h2.5'],
};

/** Label and mark of an event's kind. */
export function event(kind) {
  const [label, mark] = EVENTS[kind] ?? [plain(kind), 'M-4 0H4M0-4V4'];
  return { label, mark };
}

/** Of each quantity: its name, what it is, its scale ("log", "linear"), and where low or high values are bad. */
const QUANTITIES = {
  snr: ['Gradient SNR', 'median over the weights of |mean gradient| / standard error', 'log', 'low'],
  median_abs: ['Median |gradient|', 'median over the weights of |mean gradient|, noise included', 'log', 'low'],
  variance: ['Gradient variance', 'mean over the weights of the variance of one sample', 'log', 'low'],
  signal: ['Squared gradient', 'mean square gradient without its noise', 'log', 'low'],
  resolved: ['Measurable weights', 'share of the weights with an SNR above 3', 'linear', 'low'],
  p_value: ['p-value', 'of “this layer has no gradient at all”', 'log', 'high'],
  shots_to_resolve: ['Shots to resolve', 'shots per expectation value at which the SNR would be 3', 'log', 'high'],
  n_weights: ['Weights', 'in the layer', 'linear', 'low'],
  n_samples: ['Gradient samples', 'samples per weight', 'linear', 'low'],
};
const CONSTANT = 'n_weights'; // nothing to see over steps

/** Name, meaning, scale and bad end of a quantity. */
export function quantity(name) {
  const [title, meaning, scale, bad] = QUANTITIES[name] ?? [plain(name), '', 'log', 'low'];
  return { title, meaning, scale, bad };
}

/** The quantities to choose from among a table's columns, the best known first. */
export function quantities(columns) {
  const known = Object.keys(QUANTITIES).filter((name) => columns.includes(name));
  return [...known, ...columns.filter((name) => !known.includes(name))].filter((name) => name !== CONSTANT);
}

function plain(name) {
  const text = String(name).replaceAll('_', ' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}
