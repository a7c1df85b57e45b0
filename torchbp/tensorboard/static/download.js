// What is shown, as a file: the numbers as CSV, the charts as a picture.

import { s } from './dom.js';

const STYLES = [
  'fill',
  'fill-opacity',
  'stroke',
  'stroke-width',
  'stroke-dasharray',
  'stroke-opacity',
  'opacity',
  'font-size',
  'font-family',
  'font-weight',
  'text-anchor',
  'visibility',
];
const [MARGIN, TITLE] = [16, 26];

/** One line a cell: run, source, quantity, layer, step, value. */
export function csv(panels, quantity) {
  const lines = ['run,source,quantity,layer,step,value'];
  for (const { data, rows } of panels) {
    if (!data.table) continue;
    const { at, values, rows: width } = data.table;
    rows.forEach(({ name, row }) => {
      const start = [data.info.run, data.name, quantity, name].map(quoted).join(',');
      at.forEach((step, k) => lines.push(`${start},${step},${written(values[k * width + row])}`));
    });
  }
  return new Blob([`${lines.join('\n')}\n`], { type: 'text/csv' });
}

/** The charts of all panels side by side, as they look. */
export function svg(panels, background) {
  const columns = panels.map(column);
  const width = columns.reduce((sum, one) => sum + one.width + MARGIN, MARGIN);
  const height = Math.max(...columns.map((one) => one.height)) + 2 * MARGIN;
  let x = MARGIN;
  const placed = columns.map((one) => {
    const group = s('g', { transform: `translate(${x} ${MARGIN})` }, one.parts);
    x += one.width + MARGIN;
    return group;
  });
  const root = s(
    'svg',
    { xmlns: 'http://www.w3.org/2000/svg', width, height, viewBox: `0 0 ${width} ${height}` },
    s('rect', { width, height, fill: background }),
    placed,
  );
  return { text: new XMLSerializer().serializeToString(root), width, height };
}

/** The same as pixels, at twice the size. */
export async function png(panels, background) {
  const { text, width, height } = svg(panels, background);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = Object.assign(document.createElement('canvas'), { width: 2 * width, height: 2 * height });
  canvas.getContext('2d').drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
}

/** Hand a file to the user. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const anchor = Object.assign(document.createElement('a'), { href: url, download: name });
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/** Everything drawn in one panel, one below the other. */
function column(panel) {
  const color = getComputedStyle(panel.charts).color;
  const parts = [];
  let y = 0;
  const text = (content, size, weight) => {
    parts.push(
      s(
        'text',
        { x: 0, y: y + 14, fill: color, 'font-size': size, 'font-weight': weight, 'font-family': 'sans-serif' },
        content,
      ),
    );
    y += TITLE;
  };
  text(panel.data.info.run, 15, 700);
  text(panel.head.querySelector('h2')?.textContent ?? '', 14, 400);
  text(panel.words.title, 13, 700);
  for (const element of panel.charts.querySelectorAll('svg.key, svg.timeline, .heatmap, svg.lines')) {
    if (element.closest('[hidden]') || !element.getClientRects().length) continue;
    const overlay = element.matches('.heatmap') ? element.querySelector('svg') : element;
    const group = s('g', { transform: `translate(${element.matches('.key') ? panel.frame.left : 0} ${y})` });
    if (element.matches('.heatmap')) {
      const canvas = element.querySelector('canvas');
      group.append(
        s('image', {
          href: canvas.toDataURL(),
          x: panel.frame.left,
          y: 0,
          width: canvas.clientWidth,
          height: canvas.clientHeight,
        }),
      );
    }
    group.append(...styled(overlay).childNodes);
    parts.push(group);
    y += Number(overlay.getAttribute('height')) + 10;
  }
  return { parts, width: panel.frame.width, height: y };
}

/** A copy that looks the same without the page's style sheet. */
function styled(element) {
  const copy = element.cloneNode(true);
  const [originals, copies] = [element, copy].map((root) => [root, ...root.querySelectorAll('*')]);
  originals.forEach((original, i) => {
    const looks = getComputedStyle(original);
    for (const name of STYLES) copies[i].setAttribute(name, looks.getPropertyValue(name));
    copies[i].removeAttribute('class');
  });
  return copy;
}

const quoted = (text) => `"${String(text).replaceAll('"', '""')}"`;
const written = (value) =>
  Number.isNaN(value) ? '' : value === Infinity ? 'inf' : value === -Infinity ? '-inf' : String(value);
