// The last requests that entered at this node, each with its attempts and the plan that chose them.
import { attribute, byId, each, h, pill, text } from './dom.js';
import { clock, count, milliseconds, NONE, plural } from './format.js';

/** Requests that are kept for the list. */
const KEPT_MAX = 200;
/** Requests that are shown. */
const SHOWN_MAX = 50;

let records = [];
let shown = [];
let entry = '';
let onlyTroubled = false;
let held = false;
const open = new Set();
/** The last failure at each upstream, in words. */
const failures = new Map();

const list = h('ol', { class: 'rows' });
const empty = h('p', { class: 'empty' }, 'No request has ended at this node yet. Each shows here within a second.');
const heads = ['Time', 'Status', 'Model', 'Path', 'Attempts', 'First byte', 'Total', 'Client'];
byId('requests').append(
  h('div', { class: 'row heads', 'aria-hidden': 'true' }, heads.map((title) => h('span', null, title))),
  list,
  empty,
);

export const lastFailure = (node, upstream) => failures.get(`${node}/${upstream}`) ?? null;

const isTroubled = (record) => record.status >= 400 || record.error !== null || record.attempts.length > 1;
const tone = (record) => {
  if (record.failed) return 'bad';
  return record.status >= 400 || record.error ? 'warn' : 'good';
};

/** Entry node, owner, upstream: the way of the answer, or of the last attempt where none came. */
const path = (record) => {
  const last = record.attempts.at(-1);
  const [node, upstream] = record.upstream ? [record.node, record.upstream] : [last?.node, last?.upstream];
  if (!upstream) return [entry];
  return node === entry ? [entry, upstream] : [entry, node, upstream];
};

const steps = (names) => {
  const arrow = () => h('i', { class: 'arrow', 'aria-hidden': 'true' }, '→');
  const spoken = () => h('span', { class: 'unseen' }, ' to ');
  return names.flatMap((name, index) => [...(index ? [spoken(), arrow()] : []), h('span', null, name)]);
};

/** The parts of a candidate's expected cost, as a bar as wide as its share of `most`. */
const cost = (parts, most) => {
  const shares = ['rtt', 'ttft', 'load', 'staleness', 'breaks'].filter((name) => parts[name] > 0);
  const bar = h('span', { class: 'cost', 'aria-hidden': 'true' }, shares.map((name) => h('i', { class: name })));
  shares.forEach((name, index) => {
    bar.children[index].style.width = `${(100 * parts[name]) / Math.max(most, 1)}%`;
  });
  const names = { rtt: 'round trip', ttft: 'first byte', load: 'load', staleness: 'age of the measurement', breaks: 'broken answers' };
  const spelled = shares.map((name) => `${names[name]} ${milliseconds(parts[name])}`).join(' + ');
  return h('div', { class: 'costs', title: spelled }, bar, h('b', null, milliseconds(parts.total)), h('small', null, spelled));
};

const OUTCOMES = { answered: 'good', cancelled: 'idle' };

/** A plan repeats a candidate that may be tried several times: shown here once, with the count. */
const merged = (choices) => {
  const found = [];
  for (const choice of choices) {
    const before = found.at(-1);
    if (before?.node === choice.node && before.upstream === choice.upstream) before.times += 1;
    else found.push({ ...choice, times: 1 });
  }
  return found;
};

const plan = (record) => {
  const all = [...record.attempts, ...merged(record.untried)];
  if (!all.length) return h('p', { class: 'empty' }, record.error ? `No attempt was made: ${record.error}.` : 'No upstream was asked.');
  const most = Math.max(...all.map((one) => one.cost_ms.total));
  const line = (one, index) => {
    const wasTried = index < record.attempts.length;
    const isAnswer = wasTried && index === record.attempts.length - 1 && record.upstream !== null;
    const outcome = wasTried ? pill(OUTCOMES[one.outcome] ?? (isAnswer ? tone(record) : 'bad'), one.outcome) : pill('idle', record.upstream === null ? 'not reached' : 'not needed');
    return h(
      'li',
      { class: wasTried ? 'tried' : 'untried' },
      h('span', { class: 'number' }, wasTried ? String(index + 1) : ''),
      h('span', { class: 'who' }, h('b', null, `${one.node} → ${one.upstream}`), h('small', null, one.region)),
      h('span', { class: 'how' }, outcome, wasTried ? h('small', null, `after ${milliseconds(one.ms)}`) : one.times > 1 ? h('small', null, `up to ${one.times} times`) : null),
      h('span', { class: 'because' }, h('b', null, one.reason), one.model && one.model !== record.model ? h('small', null, `for ${one.model}`) : null, one.detail ? h('small', null, one.detail) : null),
      cost(one.cost_ms, most),
    );
  };
  const titles = ['', 'Candidate', 'Outcome', 'Chosen as', 'Expected cost when planned'];
  return h(
    'ol',
    { class: 'plan', 'aria-label': 'The plan, in the order of its attempts' },
    h('li', { class: 'titles', 'aria-hidden': 'true' }, titles.map((title) => h('span', null, title))),
    all.map(line),
  );
};

const details = (record) => {
  const fact = (title, value) => (value === null || value === undefined ? null : h('div', null, h('dt', null, title), h('dd', null, String(value))));
  const tokens = record.tokens_in === null && record.tokens_out === null ? null : `${count(record.tokens_in)} in, ${count(record.tokens_out)} out`;
  return [
    plan(record),
    h(
      'dl',
      { class: 'facts' },
      [
        fact('Id', record.id),
        fact('Asked for', `${record.method} ${record.path}`),
        fact('Stream', record.stream ? 'yes' : 'no'),
        fact('Translated', record.dialect?.replace('>', ' → ')),
        fact('Other models', record.fallbacks?.length ? record.fallbacks.map((step) => `${step.model} (${step.cause})`).join(' → ') : null),
        fact('Error', record.error),
        fact('Ended', record.end?.replace('_', ' ')),
        fact('Added by this node', milliseconds(record.overhead_ms)),
        fact('Tokens', tokens),
        fact('Key', record.key),
        fact('Residency', record.residency),
        fact('Made for', record.kind === 'task' ? 'a task' : null),
      ].filter(Boolean),
    ),
  ];
};

const toggle = (item, record) => {
  const isOpen = !open.has(record.row);
  if (isOpen) open.add(record.row);
  else open.delete(record.row);
  unfold(item, record, isOpen);
  refresh();
};

const unfold = (item, record, isOpen) => {
  attribute(item.firstChild, 'aria-expanded', String(isOpen));
  item.lastChild.hidden = !isOpen;
  if (isOpen && !item.lastChild.firstChild) item.lastChild.append(...details(record));
};

/** Up and down move from row to row, as in any list. */
const walk = (event) => {
  const step = { ArrowDown: 'nextSibling', ArrowUp: 'previousSibling' }[event.key];
  const next = step && event.currentTarget.parentNode[step];
  if (!next?.firstChild) return;
  event.preventDefault();
  next.firstChild.focus();
};

const create = (record) => {
  const id = `request-${record.row}`;
  const attempts = record.attempts.length;
  const cells = [
    h('time', null, clock(record.time)),
    h('span', null, pill(tone(record), record.status === 499 ? '499 gone' : String(record.status))),
    h('span', { class: 'model' }, record.model ?? record.path),
    h('span', { class: 'path' }, steps(path(record))),
    h('span', { class: `attempts ${attempts > 1 ? 'many' : ''}` }, plural(attempts, 'attempt')),
    h('span', { class: 'number' }, record.first_byte_ms > 0 ? milliseconds(record.first_byte_ms) : NONE),
    h('span', { class: 'number' }, milliseconds(record.total_ms)),
    h('span', { class: 'client' }, record.client?.area ?? NONE),
  ];
  const item = h('li', { 'data-request': record.id });
  const row = h('button', { type: 'button', class: 'row', 'aria-expanded': 'false', 'aria-controls': id, onclick: () => toggle(item, record), onkeydown: walk }, cells);
  item.append(row, h('div', { class: 'details', id, hidden: true }));
  return item;
};

/** The list does not change while a row is unfolded or has the focus: moving rows cannot be read. */
const isHeld = () => held || open.size > 0 || list.contains(document.activeElement);

const refresh = () => {
  const wanted = records.filter((record) => !onlyTroubled || isTroubled(record)).slice(0, SHOWN_MAX);
  const known = new Set(shown.map((record) => record.row));
  const fresh = wanted.filter((record) => !known.has(record.row));
  if (!isHeld() || !shown.length) show(wanted);
  else {
    const waiting = byId('requests-new');
    waiting.hidden = fresh.length === 0;
    text(waiting, `Show ${plural(fresh.length, 'new one')}`);
  }
};

const show = (wanted) => {
  shown = wanted;
  byId('requests-new').hidden = true;
  empty.hidden = shown.length > 0;
  each(list, shown, (record) => record.row, create, () => {});
};

byId('requests-new').addEventListener('click', () => {
  open.clear();
  for (const item of list.children) unfold(item, null, false);
  show(records.filter((record) => !onlyTroubled || isTroubled(record)).slice(0, SHOWN_MAX));
});
byId('requests-failed').addEventListener('click', (event) => {
  onlyTroubled = !onlyTroubled;
  attribute(event.currentTarget, 'aria-pressed', String(onlyTroubled));
  open.clear();
  text(empty, onlyTroubled ? 'None of the last requests failed or took more than one attempt.' : 'No request has ended at this node yet.');
  show(records.filter((record) => !onlyTroubled || isTroubled(record)).slice(0, SHOWN_MAX));
});
byId('requests-hold').addEventListener('click', (event) => {
  held = !held;
  attribute(event.currentTarget, 'aria-pressed', String(held));
  refresh();
});
list.addEventListener('focusout', () => setTimeout(refresh));

let number = 0;

/** Takes an event's requests, the newest first. */
export const takeRequests = ({ requests, total }, node) => {
  entry = node;
  const fresh = requests.map((record, index) => ({ ...record, row: number + requests.length - index }));
  number += requests.length;
  records = [...fresh, ...records].slice(0, KEPT_MAX);
  for (const record of [...fresh].reverse()) {
    for (const attempt of record.attempts) {
      if (attempt.detail) failures.set(`${attempt.node}/${attempt.upstream}`, attempt.detail);
    }
  }
  text(byId('requests-note'), `${plural(total, 'request')} since the start; entered at ${node}`);
  refresh();
};

/** A new connection: its first events may have been seen before. */
export const forgetRequests = () => {
  records = [];
};
