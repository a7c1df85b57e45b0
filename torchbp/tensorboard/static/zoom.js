// Dragging over a chart chooses a range of steps.

import { h } from './dom.js';

const LEAST = 6; // pixels: less is a click

/** Makes an element zoom: `frame()` is its geometry, `chosen([from, to])` is told what was dragged over. */
export function zoomable(element, frame, chosen) {
  const shade = h('div', { class: 'shade', hidden: true });
  let start = null;
  const place = (event) => {
    const { left, plot } = frame();
    const x = event.clientX - element.getBoundingClientRect().left;
    return Math.max(left, Math.min(left + plot, x));
  };
  element.addEventListener('pointerdown', (event) => {
    if (event.button === 0 && frame() && event.clientX - element.getBoundingClientRect().left >= frame().left)
      start = place(event);
  });
  element.addEventListener('pointermove', (event) => {
    if (start === null) return;
    const [from, to] = [start, place(event)].sort((a, b) => a - b);
    if (to - from < LEAST && shade.hidden) return;
    if (!shade.isConnected) element.parentElement.append(shade);
    shade.hidden = false;
    const [own, around] = [element, element.parentElement].map((one) => one.getBoundingClientRect());
    const box = {
      left: own.left - around.left + from,
      top: own.top - around.top,
      width: to - from,
      height: own.height,
    };
    for (const [side, pixels] of Object.entries(box)) shade.style[side] = `${pixels}px`;
    event.preventDefault();
  });
  const end = (event) => {
    if (start === null) return;
    const [from, to] = [start, place(event)].sort((a, b) => a - b);
    start = null;
    if (shade.hidden) return;
    shade.hidden = true;
    if (to - from < LEAST) return;
    const { x } = frame();
    element.addEventListener('click', (click) => click.stopImmediatePropagation(), { capture: true, once: true });
    setTimeout(() => chosen([Math.floor(x.invert(from)), Math.ceil(x.invert(to))]));
  };
  element.addEventListener('pointerup', end);
  window.addEventListener('pointerup', end);
}
