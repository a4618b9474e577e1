// Keys that are being limited, and budgets with what is left of them, as this node has them.
import { byId, each, h, setPill, table, text } from './dom.js';
import { count, NONE, percent, plural, span } from './format.js';

const body = table(byId('limits'), 'Limits and budgets of keys', [
  ['State'],
  ['Key'],
  ['Limit', 'number'],
  ['Left', 'number', 'In the mesh, as far as this node knows'],
  ['Of it here', 'number', 'What this node may admit without asking another'],
  ['Whole again in', 'number', 'If nothing is used meanwhile'],
  ['Refused', 'number', 'Requests that this node refused'],
  ['Last', 'number'],
]);

/** What keeps a node from spending rights. */
const FAULTS = {
  store_is_old: 'limits.file is older than peers know: this day’s and month’s budgets are forfeited here',
  clock_differs: 'most peers have another time: budgets rest here',
  unsaved: 'limits.file cannot be written',
};

const amount = ({ of }, units) => (of === 'budget' ? `$${(units / 1e6).toFixed(2)}` : count(units));

/** A limit that refused requests may be a budget too: it has one line. */
const all = ({ limited, budgets }) => {
  const name = (limit) => `${limit.key}\n${limit.model}\n${limit.of}\n${limit.window}`;
  const refused = new Set(limited.map(name));
  return [...limited, ...budgets.filter((limit) => !refused.has(name(limit)))].map((limit) => ({ ...limit, name: name(limit) }));
};

const create = () => {
  const cells = [...body.previousSibling.firstChild.children].map((head, index) =>
    h(index === 1 ? 'th' : 'td', { class: head.className, scope: index === 1 ? 'row' : null, 'data-title': head.textContent }),
  );
  return h('tr', null, cells);
};

const update = (row, limit) => {
  const [state, ...cells] = row.children;
  const isLimited = limit.refused_ms_ago !== null;
  setPill(state, isLimited ? 'warn' : 'good', isLimited ? 'limited' : 'within');
  const unit = limit.of === 'budget' ? '' : ` ${limit.of}`;
  const shown = [
    `${limit.account ? 'account ' : ''}${limit.key}${limit.model ? ` for ${limit.model}` : ''}`,
    limit.of === 'concurrency'
      ? `${amount(limit, limit.limit)} requests at once`
      : `${amount(limit, limit.limit)}${unit} a ${limit.window}`,
    `${amount(limit, limit.left)} (${percent(limit.left / Math.max(1, limit.limit))})`,
    amount(limit, limit.left_here),
    limit.whole_again_in_ms > 0 ? span(limit.whole_again_in_ms) : NONE,
    count(limit.refused),
    isLimited ? `${span(limit.refused_ms_ago)} ago` : NONE,
  ];
  shown.forEach((value, index) => text(cells[index], value));
};

/** Shows the limits of a `mesh` event. */
export const showLimits = ({ limits }) => {
  each(body, all(limits), ({ name }) => name, create, update);
  const faults = Object.entries(limits.faults).filter(([, times]) => times > 0);
  const hidden = limits.limited_total - limits.limited.length + limits.budgets_total - limits.budgets.length;
  const notes = [
    plural(limits.keys, 'key') + ' with limits here',
    hidden > 0 && `${count(hidden)} more`,
    ...faults.map(([kind]) => FAULTS[kind] ?? kind),
  ];
  text(byId('limits-note'), notes.filter(Boolean).join(' · '));
};
