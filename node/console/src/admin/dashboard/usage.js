// What was used in the last 30 days: requests, tokens and spend by key and model, summed over the mesh.
//
// Asked for while the page is in sight, and seldom: it is a sum over all nodes.
import { byId, each, h, table, text } from './dom.js';
import { count, NONE, plural } from './format.js';

/** How often sums are asked for. */
const PERIOD = 15_000;
/** Rows that are shown; the dearest come first. */
const ROWS_MAX = 50;

const body = table(byId('usage'), 'Spend and tokens by key and model', [
  ['Key'],
  ['Model'],
  ['Spend', 'number', 'US dollars, as far as models have prices'],
  ['Requests', 'number'],
  ['Failed', 'number'],
  ['Tokens in', 'number'],
  ['Cached', 'number', 'Of the tokens in, those read from an upstream’s cache'],
  ['Tokens out', 'number'],
]);

/** A decimal text from the node, to the cent where it is large. */
const dollars = (value, isUnpriced) => {
  const amount = Number(value);
  if (amount === 0) return isUnpriced ? NONE : '$0';
  return amount >= 1 ? `$${count(Math.round(amount * 100) / 100)}` : `$${amount.toPrecision(3)}`;
};

const create = () => {
  const cells = [...body.previousSibling.firstChild.children].map((head, index) =>
    h(index === 0 ? 'th' : 'td', { class: head.className, scope: index === 0 ? 'row' : null, 'data-title': head.textContent }),
  );
  return h('tr', null, cells);
};

const update = (row, sum) => {
  const cells = row.children;
  const shown = [sum.key, sum.model, dollars(sum.cost_usd, sum.unpriced > 0), ...[sum.requests, sum.failed, sum.tokens_in, sum.tokens_cached, sum.tokens_out].map(count)];
  shown.forEach((value, index) => text(cells[index], value));
};

const show = (usage) => {
  each(body, usage.rows.slice(0, ROWS_MAX), ({ key, model }) => `${key}\n${model}`, create, update);
  const { total, missing } = usage;
  const notes = [
    `${dollars(total.cost_usd, false)} since ${usage.since} (UTC)`,
    usage.rows.length > ROWS_MAX && `${count(usage.rows.length - ROWS_MAX)} more rows: grapevine usage`,
    total.unpriced > 0 && `${plural(total.unpriced, 'request')} without a price`,
    missing.length > 0 && `without ${missing.join(', ')}`,
  ];
  text(byId('usage-note'), notes.filter(Boolean).join(' · '));
};

/** Shows sums for as long as the page is open; `token` returns the port's token, where it has one. */
export const followUsage = (token) => {
  const ask = async () => {
    if (document.hidden) return;
    const headers = token() ? { authorization: `Bearer ${token()}` } : {};
    try {
      const answer = await fetch('/usage?by=key,model', { headers, cache: 'no-store' });
      if (answer.ok) show(await answer.json());
    } catch {
      // The banner says that the node does not answer; the sums stay as they are.
    }
  };
  setInterval(ask, PERIOD);
  document.addEventListener('visibilitychange', ask);
  return ask;
};
