// Elements made of data. Texts are set as texts, never as markup: names come from other machines.
const SVG = 'http://www.w3.org/2000/svg';

const build = (element, attributes, children) => {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
};

/** An HTML element with attributes and children; texts among them stay texts. */
export const h = (tag, attributes, ...children) => build(document.createElement(tag), attributes, children);

/** The same within a drawing. */
export const s = (tag, attributes, ...children) => build(document.createElementNS(SVG, tag), attributes, children);

export const byId = (id) => document.getElementById(id);

/** Sets a text where it changed, so that selections and screen readers are left alone. */
export const text = (element, value) => {
  const wanted = String(value);
  if (element.textContent !== wanted) element.textContent = wanted;
};

/** Sets or removes an attribute where it changed. */
export const attribute = (element, name, value) => {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
};

const kept = new WeakMap();

/**
 * Makes `parent` hold one element for each item, in their order. An element stays the same as long as its key
 * does, so that focus, selection and what is unfolded survive an update.
 */
export const each = (parent, items, keyOf, create, update) => {
  const before = kept.get(parent) ?? new Map();
  const now = new Map();
  let place = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    if (now.has(key)) continue;
    const element = before.get(key) ?? create(item);
    update(element, item);
    now.set(key, element);
    if (element === place) place = place.nextSibling;
    else parent.insertBefore(element, place);
  }
  for (const [key, element] of before) if (!now.has(key)) element.remove();
  kept.set(parent, now);
};

/** A table with a head; returns its body. Columns are [title, class] or [title, class, explanation]. */
export const table = (element, caption, columns) => {
  const heads = columns.map(([title, name, about]) => h('th', { scope: 'col', class: name, title: about }, title));
  const body = h('tbody');
  element.append(h('caption', { class: 'unseen' }, caption), h('thead', null, h('tr', null, heads)), body);
  return body;
};

/** A state as a word with a mark: `tone` is good, warn, bad or idle. */
export const pill = (tone, word, title) => h('span', { class: `pill ${tone}`, title }, h('i', { 'aria-hidden': 'true' }), word);

/** Makes `cell` show such a state, where it changed. */
export const setPill = (cell, tone, word, title) => {
  const sign = `${tone} ${word} ${title ?? ''}`;
  if (cell.dataset.sign === sign) return;
  cell.dataset.sign = sign;
  cell.replaceChildren(pill(tone, word, title));
};
