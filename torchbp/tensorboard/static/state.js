// What is shown, and how it stands in the address: in the fragment, as TensorBoard's own pages keep theirs.

const PREFIX = 'p.torchbp.';

/** Nothing chosen: the latest run, SNR of all layers, all steps. */
export const initial = () => ({
  runs: [],
  quantity: 'snr',
  source: '',
  curve: '',
  layer: '',
  layers: 'all',
  range: null,
});

/** The state that an address holds. */
export function read() {
  const state = initial();
  for (const part of (own().hash || window.location.hash).slice(1).split('&')) {
    const [name, value = ''] = part.split('=');
    if (!name.startsWith(PREFIX)) continue;
    const key = name.slice(PREFIX.length);
    const text = decode(value);
    if (key === 'runs') state.runs = text.split(',').filter(Boolean).map(decode);
    else if (key === 'range') state.range = range(text);
    else if (typeof state[key] === 'string') state[key] = text;
  }
  return state;
}

/** The address that shows this state. */
export function link(state) {
  const initially = initial();
  const entries = Object.entries(state).filter(([key, value]) => String(value ?? '') !== String(initially[key] ?? ''));
  const parts = entries.map(([key, value]) => {
    const text = key === 'runs' ? value.map(encodeURIComponent).join(',') : String(value);
    return `${PREFIX}${key}=${encodeURIComponent(text)}`;
  });
  const { origin, pathname, search } = own();
  const page = own() === window.location ? [] : ['torchbp'];
  return `${origin}${pathname}${search}#${[...page, ...parts].join('&')}`;
}

/** Put the state into the address bar, without a new entry in the history. */
export function write(state) {
  const outside = own();
  const shown = outside === window.location || outside.hash.startsWith('#torchbp');
  if (!shown) return; // another of TensorBoard's pages is in front
  const history = outside === window.location ? window.history : window.parent.history;
  history.replaceState(history.state, '', link(state));
}

/** The location of TensorBoard around this frame, or of the frame where it stands alone or inside another site. */
function own() {
  try {
    return window.parent.location.hash !== undefined ? window.parent.location : window.location;
  } catch {
    return window.location;
  }
}

function range(text) {
  const ends = text.split(',').map(Number);
  return ends.length === 2 && ends.every(Number.isFinite) && ends[0] < ends[1] ? ends : null;
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return '';
  }
}
