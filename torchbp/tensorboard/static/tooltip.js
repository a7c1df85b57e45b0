// The one box that follows the pointer, or the cursor of the keyboard.

import { h, put } from './dom.js';

const box = h('div', { class: 'tooltip', role: 'tooltip', hidden: true });

/** Show lines at a place of the window; the first is the heading. */
export function show(x, y, heading, ...lines) {
  if (!box.isConnected) document.body.append(box);
  put(box, h('strong', {}, heading), ...lines.map((line) => h('div', {}, line)));
  box.hidden = false;
  const { width, height } = box.getBoundingClientRect();
  const left = x + 14 + width > window.innerWidth ? x - 14 - width : x + 14;
  const top = y + 14 + height > window.innerHeight ? y - 14 - height : y + 14;
  box.style.left = `${Math.max(4, left)}px`;
  box.style.top = `${Math.max(4, top)}px`;
}

/** Take it away. */
export function hide() {
  box.hidden = true;
}
