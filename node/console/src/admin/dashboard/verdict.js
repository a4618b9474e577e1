// One sentence on top: whether everything is healthy, and what is not.
import { attribute, byId, each, h, text } from './dom.js';
import { fileProblems } from './files.js';
import { plural, REASONS, span } from './format.js';

const PROBLEMS_MAX = 6;

/** What is wrong, the worst first, as {tone, text, href}. */
export const problems = (mesh) => {
  const found = [];
  const add = (tone, sentence, href) => found.push({ tone, text: sentence, href });
  for (const reason of mesh.readiness.reasons) add('bad', `This node is not ready: ${reason}`, '#nodes-title');
  for (const it of fileProblems(mesh)) found.push({ ...it, href: '#nodes-title', isKept: true });
  for (const node of mesh.nodes) {
    if (node.state === 'unreachable') add('bad', `${node.name} is unreachable: ${unreachable(node)}`, '#nodes-title');
    else if (!node.live) add('warn', `${node.name} is dead to gossip, while its link is up`, '#nodes-title');
    else if (node.state === 'draining') add('warn', `${node.name} drains`, '#nodes-title');
  }
  for (const node of mesh.nodes.filter((it) => it.state !== 'unreachable')) {
    for (const upstream of node.upstreams) {
      const name = `${node.name}/${upstream.name}`;
      const since = span(upstream.since_ms);
      if (upstream.reason === 'disabled') {
        add('warn', `${name} has been out of use for ${since}: ${REASONS.disabled}`, '#upstreams-title');
      } else if (upstream.state === 'ejected' || upstream.state === 'probing') {
        add('bad', `${name} has been unhealthy for ${since}: ${REASONS[upstream.reason] ?? upstream.reason} (${upstream.reason})`, '#upstreams-title');
      } else if (upstream.state === 'suspect') {
        add('warn', `${name} is suspect, others go first: ${REASONS[upstream.reason] ?? upstream.reason} (${upstream.reason})`, '#upstreams-title');
      } else if (upstream.state === 'cooldown') add('warn', `${name} asked for a pause`, '#upstreams-title');
    }
  }
  const { unserved, unserved_names } = mesh.summary.models;
  const more = unserved - unserved_names.length;
  if (unserved) add('bad', `No usable upstream for ${unserved_names.join(', ')}${more > 0 ? ` and ${more} more` : ''}`, '#upstreams-title');
  for (const tasks of mesh.unserved) {
    add('warn', `${plural(tasks.waiting, 'task')} of ${tasks.service} ${tasks.store ? `in ${tasks.store}` : `at ${tasks.node}`}: no live node serves that`, '#tasks-title');
  }
  return found.sort((one, other) => (one.tone === 'bad' ? 0 : 1) - (other.tone === 'bad' ? 0 : 1));
};

/** Why nothing is sent to a node. */
const unreachable = (node) => {
  if (!node.live) return 'dead to gossip';
  return node.reach === 'silent' ? 'its link is silent' : 'alive, but there is no link to it';
};

/** The mesh in a line, in the words of `grapevine status`. */
const counts = ({ nodes, upstreams }) => {
  const rest = ['joining', 'draining', 'unreachable'].filter((state) => nodes[state]).map((state) => `, ${nodes[state]} ${state}`);
  return `${nodes.ready} of ${plural(nodes.all, 'node')} ready${rest.join('')}; ${upstreams.usable} of ${plural(upstreams.all, 'upstream')} usable`;
};

export const showVerdict = (mesh) => {
  const found = problems(mesh);
  const tone = found.some((it) => it.tone === 'bad') ? 'bad' : found.length ? 'warn' : 'good';
  const verdict = byId('verdict');
  attribute(verdict, 'data-tone', tone);
  const all = counts(mesh.summary);
  text(verdict, found.length ? `${plural(found.length, 'problem')}: ${all}` : `All healthy: ${all}`);
  document.title = found.length ? `(${found.length}) grapevine · ${mesh.self}` : `grapevine · ${mesh.self}`;
  // What is wrong with the node's own files is shown nowhere below.
  const shown = found.filter((it, index) => index < PROBLEMS_MAX || it.isKept);
  const rest = found.length - shown.length;
  if (rest > 0) shown.push({ tone: 'idle', text: `and ${rest} more below`, href: '#upstreams-title' });
  // Warnings about what is configured are no problems of the moment.
  const asides = mesh.readiness.warnings.filter((it) => /^(keys|residency|upstreams|gossip)/.test(it));
  for (const aside of asides) shown.push({ tone: 'idle', text: aside, href: '#nodes-title' });
  each(
    byId('problems'),
    shown.map((problem, index) => ({ ...problem, index })),
    (problem) => problem.index,
    () => h('li', null, h('a')),
    (item, problem) => {
      attribute(item, 'class', problem.tone);
      attribute(item.firstChild, 'href', problem.href);
      text(item.firstChild, problem.text);
    },
  );
};
