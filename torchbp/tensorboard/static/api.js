// What the server knows. One quantity per request, packed as in torchbp/tensorboard/table.py.

const BASE = new URL('./', import.meta.url); // whatever path TensorBoard is served from
const POINTS = 1500; // steps to ask for: what a screen can show

/** All runs with data of torchbp, the latest first; how many runs there are at all; the server's time in seconds. */
export const runs = () => json('runs', {});

/** Tables, events and curves of one run. */
export const run = (name) => json('run', { run: name });

/** One quantity of every layer. */
export const stats = (name, source, column, range) => table('stats', { run: name, source, column, ...between(range) });

/** One quantity of every weight of a layer. */
export const weights = (name, source, layer, column, range) =>
  table('weights', { run: name, source, layer, column, ...between(range) });

/** A scalar. */
export const curve = (name, tag, range) => table('curve', { run: name, tag, ...between(range) });

const between = (range) => ({ points: POINTS, ...(range ? { from: range[0], to: range[1] } : {}) });

async function get(path, parameters) {
  const url = new URL(path, BASE);
  url.search = new URLSearchParams(parameters);
  const answer = await fetch(url);
  if (!answer.ok) throw new Error((await answer.text()).slice(0, 300) || `${path}: status ${answer.status}`);
  return answer;
}

const json = async (path, parameters) => (await get(path, parameters)).json();

/** The head of a packed table, and with it `at`, its steps, and `values`, the rows of one step after the other. */
async function table(path, parameters) {
  const buffer = await (await get(path, parameters)).arrayBuffer();
  const end = new Uint8Array(buffer).indexOf(10) + 1;
  const head = JSON.parse(new TextDecoder().decode(buffer.slice(0, end)));
  const at = new Float64Array(buffer, end, head.steps);
  const values = new Float32Array(buffer, end + 8 * head.steps, head.steps * head.rows);
  return { ...head, at, values };
}
