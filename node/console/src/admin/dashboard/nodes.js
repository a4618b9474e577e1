// Nodes, with membership and forwarding apart: a mesh whose members are alive while no request gets through
// looks healthy to everybody but its clients. Below them, background work.
import { attribute, byId, each, h, setPill, table, text } from './dom.js';
import { count, milliseconds, NONE, plural } from './format.js';

const body = table(byId('nodes'), 'Nodes: membership and forwarding', [
  ['Node'],
  ['Region'],
  ['Gossip', '', 'Whether membership considers it alive'],
  ['Forwarding', '', 'Whether requests can be sent to it over its link'],
  ['State', '', 'Ready, joining, draining, or unreachable from this node'],
  ['Round trip', 'number', 'From this node'],
  ['Requests', '', 'Whether it answers requests of clients'],
  ['Services', 'models'],
  ['Waiting', 'number', 'Tasks that wait in its store'],
  ['Build', 'models'],
]);
const tasks = table(byId('tasks'), 'Background work by service', [['Service'], ['Served by', 'models'], ['Waiting', 'number']]);
const NOTHING = h('p', { class: 'empty' }, 'No node reports services or waiting tasks.');
byId('tasks').after(NOTHING);

const FORWARDING = {
  open: ['good', 'up', 'The link answers: requests are sent there'],
  silent: ['warn', 'suspect', 'The link has been silent: no new requests'],
  down: ['bad', 'down', 'There is no link'],
  closed: ['idle', 'takes none', 'It shuts down, is not ready, or serves no requests'],
};

const create = () => {
  const heads = [...body.previousSibling.firstChild.children];
  const cells = heads.map((head, index) =>
    h(index ? 'td' : 'th', { class: head.className, scope: index ? null : 'row', 'data-title': head.textContent }),
  );
  return h('tr', null, cells);
};

const update = (row, node, mesh) => {
  const cells = row.children;
  const isSelf = node.name === mesh.self;
  attribute(row, 'data-node', node.name);
  text(cells[0], isSelf ? `${node.name} (this one)` : node.name);
  text(cells[1], node.region ?? NONE);
  setPill(cells[2], node.live ? 'good' : 'bad', node.live ? 'alive' : 'dead');
  if (isSelf) setPill(cells[3], 'idle', 'itself');
  else setPill(cells[3], ...(FORWARDING[node.reach] ?? ['idle', node.reach]));
  text(cells[4], node.state);
  attribute(cells[4], 'data-tone', node.state === 'ready' ? null : node.state === 'unreachable' ? 'bad' : 'warn');
  text(cells[5], isSelf ? NONE : milliseconds(node.rtt_ms));
  text(cells[6], node.serves_requests === null ? NONE : node.serves_requests ? 'yes' : 'no');
  text(cells[7], node.services?.length ? node.services.join(', ') : NONE);
  const waiting = count(Object.values(node.tasks_waiting ?? {}).reduce((sum, value) => sum + value, 0));
  text(cells[8], node.tasks_store ? `${waiting} shared` : waiting);
  attribute(cells[8], 'title', node.tasks_store && `In ${node.tasks_store}, which several nodes share`);
  text(cells[9], node.build ?? NONE);
};

const services = (mesh) => {
  const found = new Map();
  const at = (name) => {
    if (!found.has(name)) found.set(name, { name, nodes: [], queues: new Map(), unserved: false });
    return found.get(name);
  };
  for (const node of mesh.nodes) {
    for (const name of node.services ?? []) at(name).nodes.push(node.live ? node.name : `${node.name} (dead)`);
    // Nodes that share a store all report the same tasks.
    const queue = node.tasks_store ? `store ${node.tasks_store}` : `node ${node.name}`;
    for (const [name, waiting] of Object.entries(node.tasks_waiting ?? {})) {
      const { queues } = at(name);
      queues.set(queue, Math.max(waiting, queues.get(queue) ?? 0));
    }
  }
  for (const { service } of mesh.unserved) at(service).unserved = true;
  for (const service of found.values()) service.waiting = [...service.queues.values()].reduce((sum, value) => sum + value, 0);
  return [...found.values()].sort((one, other) => other.unserved - one.unserved || other.waiting - one.waiting);
};

const NAMED_MAX = 6;

export const showNodes = (mesh) => {
  const { totals } = mesh;
  const left = totals.nodes - mesh.nodes.length;
  const links = totals.links ? `; ${totals.links_open} of ${plural(totals.links, 'link')} up` : '';
  text(byId('nodes-note'), `${totals.live} of ${plural(totals.nodes, 'node')} alive${links}${left > 0 ? `; the ${mesh.nodes.length} nearest or troubled are shown` : ''}`);
  each(body, mesh.nodes, (node) => node.name, create, (row, node) => update(row, node, mesh));
  const all = services(mesh);
  NOTHING.hidden = all.length > 0;
  byId('tasks').hidden = all.length === 0;
  const line = () => h('tr', null, h('th', { scope: 'row' }), h('td', { class: 'models' }), h('td', { class: 'number' }));
  each(tasks, all, (service) => service.name, line, (row, service) => {
    attribute(row, 'data-tone', service.unserved ? 'warn' : null);
    text(row.children[0], service.name);
    const more = service.nodes.length - NAMED_MAX;
    const names = service.nodes.slice(0, NAMED_MAX).join(', ') + (more > 0 ? ` and ${more} more` : '');
    text(row.children[1], service.unserved ? 'no live node' : names || NONE);
    text(row.children[2], count(service.waiting));
  });
};
