// What happened, on the same steps as the charts: the verdicts as a ribbon, everything else as marks above it.

import { h, put, s } from './dom.js';
import { count, step as stepText } from './format.js';
import * as tooltip from './tooltip.js';
import { event as eventWords, verdict as verdictWords } from './words.js';

const LANE = 26;
const RIBBON = 22;
const NEAR = 15; // pixels within which marks become one

export class Timeline {
  /** `on.chosen(events)` is told which marks were clicked. */
  constructor(on) {
    this.on = on;
    this.element = s('svg', { class: 'timeline', role: 'group', 'aria-label': 'Verdicts and events' });
  }

  /** `last`: up to which step the run is known. */
  draw({ events, frame, last }) {
    const focused = this.element.contains(document.activeElement)
      ? document.activeElement.getAttribute('aria-label')
      : null;
    const verdicts = events.filter((one) => one.kind === 'verdict');
    const actions = events.filter((one) => one.kind !== 'verdict');
    const lane = actions.length ? LANE : 0;
    this.element.setAttribute('width', frame.width);
    this.element.setAttribute('height', lane + RIBBON + 4);
    const title = (text, y) => s('text', { class: 'row', x: frame.left - 8, y }, text);
    put(
      this.element,
      lane ? title('actions', LANE / 2 + 4) : null,
      title('verdict', lane + RIBBON / 2 + 4),
      segments(verdicts, frame, last).map((segment) => this.segment(segment, frame, lane)),
      clusters(actions, frame).map((cluster) => this.mark(cluster, lane)),
    );
    if (focused)
      [...this.element.querySelectorAll('[tabindex]')].find((e) => e.getAttribute('aria-label') === focused)?.focus();
  }

  segment({ one, from, to }, frame, top) {
    const [left, right] = [frame.left, frame.left + frame.plot];
    const [x1, x2] = [Math.max(left, frame.x(from)), Math.min(right, frame.x(to))];
    if (x2 <= x1) return null;
    const { title, short, tone } = verdictWords(one?.data.verdict);
    const fits = (text) => (text.length * 7.2 + 10 < x2 - x1 ? text : '');
    const text = one
      ? fits(`${title} from step ${stepText(from)}`) || fits(title) || fits(short)
      : fits('no verdict yet') || fits('none yet');
    const tell = (event) =>
      one
        ? tooltip.show(
            event.clientX,
            event.clientY,
            `${title}, from step ${stepText(from)}`,
            ...(one.data.evidence ?? []),
          )
        : tooltip.show(event.clientX, event.clientY, 'No verdict yet');
    return s(
      'g',
      { class: `segment ${tone}`, onmousemove: tell, onmouseleave: tooltip.hide },
      s('rect', { x: x1, y: top, width: Math.max(1, x2 - x1 - 1), height: RIBBON, rx: 2 }),
      text ? s('text', { x: x1 + 7, y: top + RIBBON / 2 + 4 }, text) : null,
    );
  }

  mark({ x, events }, lane) {
    const [first] = events;
    const { label, mark } = eventWords(first.kind);
    const heading = events.length > 1 ? count(events.length, 'event') : `${label}, step ${stepText(first.step)}`;
    const lines =
      events.length > 1 ? events.slice(0, 8).map((e) => `step ${stepText(e.step)}: ${e.message}`) : [first.message];
    const tell = (place) => tooltip.show(place.x, place.y, heading, ...lines);
    const choose = () => this.on.chosen(events);
    const at = (event) => {
      const { right, bottom } = event.currentTarget.getBoundingClientRect();
      return { x: right - 10, y: bottom - 10 };
    };
    return s(
      'g',
      {
        class: 'event',
        tabindex: 0,
        role: 'button',
        'data-kind': first.kind,
        'aria-label': `${heading}: ${lines.join('; ')}`,
        transform: `translate(${x} ${lane / 2 - 1})`,
        onmousemove: (event) => tell({ x: event.clientX, y: event.clientY }),
        onmouseleave: tooltip.hide,
        onfocus: (event) => tell(at(event)),
        onblur: tooltip.hide,
        onclick: choose,
        onkeydown: (event) => {
          if (event.key !== 'Enter' && event.key !== ' ') return;
          event.preventDefault();
          choose();
        },
      },
      s('circle', { r: 10.5 }),
      events.length > 1
        ? s('text', { y: 4, 'text-anchor': 'middle' }, String(events.length))
        : s('path', { d: mark, class: 'glyph', fill: 'none' }),
    );
  }
}

/** The mark of one kind of event, for tables. */
export const icon = (kind) =>
  h(
    'span',
    { class: 'icon', 'aria-hidden': 'true' },
    s(
      'svg',
      { width: 16, height: 16, viewBox: '-8 -8 16 16' },
      s('path', { d: eventWords(kind).mark, class: 'glyph', fill: 'none' }),
    ),
  );

/** From when to when each verdict held; before the first there was none. */
function segments(verdicts, frame, last) {
  const [start] = frame.x.domain;
  const found = [];
  const first = verdicts[0]?.step ?? last;
  if (first > start) found.push({ one: null, from: start, to: first });
  verdicts.forEach((one, i) =>
    found.push({ one, from: one.step, to: verdicts[i + 1]?.step ?? Math.max(last, one.step) }),
  );
  return found;
}

/** Marks that would lie on one another, together. */
function clusters(events, frame) {
  const found = [];
  for (const one of events) {
    const x = frame.x(one.step);
    if (x < frame.left - 1 || x > frame.left + frame.plot + 1) continue;
    const near = found.at(-1);
    if (near && x - near.x < NEAR) near.events.push(one);
    else found.push({ x, events: [one] });
  }
  return found;
}
