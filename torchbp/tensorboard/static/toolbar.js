// What to show: runs, quantity, layers, curve; link and downloads.

import { h, put } from './dom.js';
import { ago, shorten, step as stepText } from './format.js';
import { quantities, quantity as quantityWords, verdict as verdictWords } from './words.js';

const MOST_RUNS = 4;

export class Toolbar {
  /** `on.change(part of the state)`, `on.link()`, `on.download("csv" | "svg" | "png")`. */
  constructor(on) {
    this.on = on;
    this.filter = h('input', {
      type: 'search',
      placeholder: 'Filter runs',
      'aria-label': 'Filter runs',
      oninput: () => this.list(),
    });
    this.choices = h('div', { class: 'choices', role: 'group', 'aria-label': 'Runs to show, four at most' });
    this.runName = h('b');
    this.runs = h(
      'details',
      { class: 'menu runs' },
      h('summary', {}, h('span', { class: 'label' }, 'Runs'), this.runName),
      h('div', { class: 'pop' }, this.filter, this.choices),
    );
    this.quantity = this.select('Quantity', 'quantity');
    this.layers = this.select('Layers', 'layers');
    this.source = this.select('Source', 'source');
    this.curve = this.select('Curve below', 'curve');
    this.whole = h('button', { hidden: true, onclick: () => on.change({ range: null }) }, 'Show all steps');
    this.live = h('span', { class: 'live', role: 'status', title: 'New data shows up by itself' });
    this.address = h('input', {
      readonly: true,
      'aria-label': 'Link to what is shown',
      onfocus: (event) => event.target.select(),
    });
    this.copied = h('p', { class: 'hint' });
    this.share = h(
      'details',
      { class: 'menu link', ontoggle: () => this.copy() },
      h('summary', {}, 'Link'),
      h('div', { class: 'pop right' }, this.address, this.copied),
    );
    const kinds = [
      ['csv', 'Numbers (CSV)'],
      ['png', 'Picture (PNG)'],
      ['svg', 'Picture (SVG)'],
    ];
    const download = (kind) => {
      this.downloads.open = false;
      on.download(kind);
    };
    this.downloads = h(
      'details',
      { class: 'menu download' },
      h('summary', {}, 'Download'),
      h(
        'div',
        { class: 'pop right' },
        kinds.map(([kind, name]) => h('button', { 'data-kind': kind, onclick: () => download(kind) }, name)),
      ),
    );
    const menus = [this.runs, this.share, this.downloads];
    this.element = h(
      'header',
      { class: 'toolbar' },
      this.runs,
      this.quantity.label,
      this.layers.label,
      this.source.label,
      this.curve.label,
      this.whole,
      h('span', { class: 'space' }),
      this.live,
      this.share,
      this.downloads,
    );
    document.addEventListener('pointerdown', (event) =>
      menus.forEach((menu) => menu.contains(event.target) || (menu.open = false)),
    );
    document.addEventListener(
      'keydown',
      (event) =>
        event.key === 'Escape' &&
        menus.forEach((menu) => {
          if (menu.open && menu.contains(document.activeElement)) menu.querySelector('summary').focus();
          menu.open = false;
        }),
    );
  }

  /** `known`: all runs; `shown`: data of those that are shown; `address` of the state. */
  draw({ state, known, shown, now, address }) {
    Object.assign(this, { state, known, now });
    this.address.value = address;
    put(this.runName, shown.length === 1 ? shorten(shown[0].info.run, 36) : `${shown.length} of ${known.length}`);
    this.list();
    const columns = [...new Set(shown.flatMap(({ source }) => source?.columns ?? []))];
    this.options(
      this.quantity,
      quantities(columns).map((name) => [name, quantityWords(name).title]),
      state.quantity,
    );
    this.options(
      this.layers,
      [
        ['all', 'All'],
        ['quantum', 'Quantum only'],
      ],
      state.layers,
    );
    const sources = [...new Set(shown.flatMap(({ info }) => Object.keys(info.sources)))];
    this.options(
      this.source,
      sources.map((name) => [name, name]),
      state.source || shown[0]?.name,
    );
    this.source.label.hidden = sources.length < 2;
    const curves = [...new Set(shown.flatMap(({ info }) => info.curves))].sort();
    this.options(
      this.curve,
      curves.map((name) => [name, shorten(name, 32)]),
      state.curve || shown[0]?.curve,
    );
    this.curve.label.hidden = !curves.length;
    this.whole.hidden = !state.range;
  }

  /** What the page is doing, for the corner. */
  tell(text, failed = false) {
    if (this.live.textContent !== text) put(this.live, text);
    this.live.classList.toggle('failed', failed);
  }

  list() {
    const wanted = this.filter.value.toLowerCase();
    const chosen = this.state.runs;
    const toggle = (name, on) =>
      this.on.change({ runs: on ? [...chosen, name] : chosen.filter((other) => other !== name) });
    const focused = this.choices.contains(document.activeElement) ? document.activeElement.value : null;
    const fits = this.known.filter(({ run }) => run.toLowerCase().includes(wanted));
    put(
      this.choices,
      fits.map(({ run, verdict, last_step: last, time }) => {
        const checked = chosen.includes(run);
        const full = checked ? chosen.length === 1 : chosen.length >= MOST_RUNS;
        const { title, tone } = verdictWords(verdict);
        const box = h('input', {
          type: 'checkbox',
          value: run,
          checked,
          disabled: full,
          onchange: (event) => toggle(run, event.target.checked),
        });
        return h(
          'label',
          { title: full && !checked ? 'Four at most' : run },
          box,
          h('span', { class: 'name' }, run),
          h('span', { class: `chip ${tone}` }, title),
          h('small', {}, `step ${stepText(last)}, ${ago(this.now - time)}`),
        );
      }),
      fits.length ? null : h('p', { class: 'hint' }, 'No run has this in its name.'),
    );
    if (focused !== null) [...this.choices.querySelectorAll('input')].find((box) => box.value === focused)?.focus();
  }

  select(text, key) {
    const element = h('select', { name: key, onchange: (event) => this.on.change({ [key]: event.target.value }) });
    return { element, label: h('label', {}, h('span', { class: 'label' }, text), element) };
  }

  options({ element }, choices, value) {
    const signature = JSON.stringify(choices);
    if (element.dataset.choices !== signature)
      put(
        element,
        choices.map(([name, text]) => h('option', { value: name }, text)),
      );
    element.dataset.choices = signature;
    element.value = value;
  }

  async copy() {
    if (!this.share.open) return;
    this.address.select();
    try {
      await navigator.clipboard.writeText(this.address.value);
      put(this.copied, 'Copied. It shows what is shown here.');
    } catch {
      put(this.copied, 'It shows what is shown here: copy it.');
    }
  }
}
