// Every upstream with its health and the reason for it. Unhealthy ones come first.
import { attribute, byId, each, h, setPill, table, text } from './dom.js';
import { count, milliseconds, NONE, percent, plural, REASONS, span } from './format.js';
import { lastFailure } from './requests.js';

const body = table(byId('upstreams'), 'Upstreams and their health', [
  ['State'],
  ['Upstream'],
  ['Why', 'why'],
  ['Since', 'number', 'How long it has been healthy or not, as known to this node'],
  ['Last check', 'models', 'The last probe or request that showed its state, at this node’s own upstreams; failures in a row'],
  ['Tried again in', 'number', 'What is left of its cooldown'],
  ['First byte', 'number', 'Expected time to the first byte of a stream, as its node measures it'],
  ['p50 / p99', 'number spread', 'Of the first bytes of streams, at this node’s own upstreams; the mean is of the last ten'],
  ['Whole answer', 'number', 'Expected time to an answer that is not streamed, as its node measures it'],
  ['Errors', 'number', 'The share of recent attempts that failed'],
  ['In flight', 'number'],
  ['Models', 'models', 'And the dialects that it reads; others are translated'],
]);

const TONES = { healthy: 'good', untested: 'idle', suspect: 'warn', cooldown: 'warn', probing: 'bad', ejected: 'bad', unreachable: 'bad' };
/** Taken out of use by its operator: no outage. */
const isDisabled = (upstream) => upstream.state === 'ejected' && upstream.reason === 'disabled';

const standing = ({ upstream }) => (isDisabled(upstream) ? ['warn', 'disabled'] : [TONES[upstream.state] ?? 'idle', upstream.state]);

const why = ({ node, upstream }) => {
  if (upstream.state === 'unreachable') {
    const gone = node.live ? `the link to ${node.name} is ${node.reach}` : `${node.name} is dead to gossip`;
    return `${gone}; ${upstream.reported_state} when it was last heard of`;
  }
  if (isDisabled(upstream)) return REASONS.disabled;
  if (upstream.state === 'cooldown') return 'it asked for a pause (Retry-After)';
  if (upstream.state === 'healthy') return node.reach === 'closed' ? `${node.name} takes no requests (${node.phase})` : '';
  if (upstream.state === 'untested') return 'nothing has shown yet that it works';
  const sentence = `${upstream.reason}: ${REASONS[upstream.reason] ?? 'unknown'}`;
  const last = lastFailure(node.name, upstream.name);
  return last ? `${sentence} · last seen: ${last}` : sentence;
};

const again = ({ node, upstream, self }) => {
  if (upstream.again_in_ms !== null) return upstream.again_in_ms > 0 ? span(upstream.again_in_ms) : 'now';
  if (upstream.state === 'probing') return 'being tried';
  if (upstream.state === 'ejected' && !isDisabled(upstream)) return node.name === self ? 'now' : `known at ${node.name}`;
  return NONE;
};

// The issued credential of this node's own upstream: its kind, what is left of it, and why it was not renewed last.
const credential = ({ upstream }) => {
  const held = upstream.credential;
  if (!held) return '';
  const left = held.expires_in_ms === null ? 'none at hand' : `${span(held.expires_in_ms)} left`;
  const isNewest = held.last_failure && (held.renewed_ms_ago === null || held.last_failure.ms_ago < held.renewed_ms_ago);
  return ` · ${held.kind} credential: ${left}${isNewest ? `, not renewed ${span(held.last_failure.ms_ago)} ago: ${held.last_failure.reason}` : ''}`;
};

/** What showed its state last, of this node's own. */
const checked = ({ upstream }) => {
  const last = upstream.checked;
  if (!last) return NONE;
  const row = upstream.failures_in_row > 1 ? ` · ${count(upstream.failures_in_row)} failures in a row` : '';
  return `${span(last.ms_ago)} ago by ${last.by}: ${last.outcome.replaceAll('_', ' ')}${row}`;
};

/** How this node's own is configured; no credential is among it. */
const configured = ({ upstream }) => {
  const it = upstream.configured;
  if (!it) return '';
  const { connect, first_byte, answer, idle, total } = it.timeout;
  return `${it.base_url} · priority ${upstream.tier}, weight ${upstream.weight}, ${plural(it.max_retries, 'try', 'tries')} · timeouts: connect ${connect}, first byte ${first_byte}, answer ${answer}, idle ${idle}, total ${total}`;
};

const create = () => {
  const cells = [...body.previousSibling.firstChild.children].map((head, index) =>
    h(index === 1 ? 'th' : 'td', { class: head.className, scope: index === 1 ? 'row' : null, 'data-title': head.textContent }),
  );
  cells[1].append(h('b'), h('small'), h('small', { class: 'configured' }));
  cells[7].append(h('span'), h('small'));
  cells[10].append(h('span'), h('div', { class: 'meter' }, h('i')));
  return h('tr', null, cells);
};

const update = (row, item) => {
  const { node, upstream } = item;
  const [tone, word] = standing(item);
  const cells = row.children;
  attribute(row, 'data-tone', tone);
  attribute(row, 'data-upstream', `${node.name}/${upstream.name}`);
  setPill(cells[0], tone, word);
  text(cells[1].firstChild, upstream.name);
  text(cells[1].children[1], `${node.name}${node.region && node.region !== node.name ? ` · ${node.region}` : ''}${credential(item)}`);
  text(cells[1].lastChild, configured(item));
  text(cells[2], why(item));
  text(cells[3], span(upstream.since_ms));
  text(cells[4], checked(item));
  attribute(cells[4], 'data-tone', upstream.checked && !upstream.checked.good ? 'bad' : null);
  text(cells[5], again(item));
  text(cells[6], milliseconds(upstream.ttft_ms));
  const [percentiles, mean] = cells[7].children;
  text(percentiles, upstream.p50_ms === null ? NONE : `${milliseconds(upstream.p50_ms)} / ${milliseconds(upstream.p99_ms)}`);
  text(mean, upstream.mean_ms === null || upstream.mean_ms === undefined ? '' : `mean ${milliseconds(upstream.mean_ms)}`);
  text(cells[8], milliseconds(upstream.answer_ms));
  text(cells[9], percent(upstream.error_rate));
  attribute(cells[9], 'data-tone', upstream.error_rate > 0.05 ? 'bad' : null);
  const [label, meter] = cells[10].children;
  const reported = upstream.reported;
  const wait = reported?.wait_ms > 0 ? ` · waits ${milliseconds(reported.wait_ms)}` : '';
  text(label, `${count(upstream.in_flight)} / ${count(upstream.in_flight_max)}${wait}`);
  attribute(label, 'title', reported ? `by its own report, ${milliseconds(reported.age_ms)} old` : null);
  const share = Math.min(1, upstream.in_flight / Math.max(1, upstream.in_flight_max));
  meter.firstChild.style.width = `${share * 100}%`;
  attribute(meter, 'data-tone', share >= 0.85 ? 'warn' : null);
  const more = upstream.models_total - upstream.models.length;
  const read = upstream.dialects?.length ? ` · ${upstream.dialects.join(', ')}` : '';
  text(cells[11], upstream.models.join(', ') + (more > 0 ? ` and ${more} more` : '') + read);
};

export const showUpstreams = (mesh) => {
  const items = mesh.nodes.flatMap((node) => node.upstreams.map((upstream) => ({ node, upstream, self: mesh.self })));
  const weight = (item) => ({ bad: 0, warn: 1, good: 2, idle: 3 })[standing(item)[0]];
  items.sort((one, other) => weight(one) - weight(other));
  const left = mesh.totals.upstreams - items.length;
  text(byId('upstreams-note'), `${mesh.summary.upstreams.usable} of ${plural(mesh.summary.upstreams.all, 'upstream')} usable${left > 0 ? `; ${count(left)} of nodes further away are not shown` : ''}`);
  each(body, items, ({ node, upstream }) => `${node.name}/${upstream.name}`, create, update);
};
