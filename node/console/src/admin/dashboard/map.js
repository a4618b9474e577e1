// The world with its nodes, the links as this node measures them, clients, and forwarded requests.
//
// Plate carrée, narrowed to where most people live. Everything on it is in the tables too: for a screen reader it
// is one image with a summary.
import { attribute, byId, each, h, s, text } from './dom.js';
import { count, milliseconds, plural } from './format.js';
import { NORTH, ROWS, SOUTH, STEP } from './world.js';

const NARROWING = 0.8;
const SCALE = 3.4;
const WIDTH = 360 * NARROWING * SCALE;
const HEIGHT = (NORTH - SOUTH + 4) * SCALE;
/** Nodes closer than this on the map are drawn as one. */
const MERGED_WITHIN = 9;

const x = (longitude) => (longitude + 180) * NARROWING * SCALE;
const y = (latitude) => (NORTH + 2 - Math.max(SOUTH - 1, Math.min(NORTH + 1, latitude))) * SCALE;

/** Round trips by colour, up to so many milliseconds. */
const STEPS = [[50, 'rtt-1', 'under 50 ms'], [150, 'rtt-2', '50–150'], [300, 'rtt-3', '150–300'], [Infinity, 'rtt-4', 'over 300 ms']];
const colour = (rtt) => STEPS.find(([end]) => rtt < end)[1];

const land = () => {
  let path = '';
  ROWS.forEach((runs, row) => {
    const shift = row % 2 ? STEP / 2 : 0;
    for (let index = 0; index < runs.length; index += 2) {
      for (let column = runs[index]; column < runs[index] + runs[index + 1]; column++) {
        path += `M${x(column * STEP + shift - 180).toFixed(1)} ${y(NORTH - row * STEP).toFixed(1)}h0`;
      }
    }
  });
  return s('path', { class: 'land', d: path });
};

const links = s('g');
const flows = s('g');
const clients = s('g');
const places = s('g');
const drawing = s('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img' }, land(), links, flows, clients, places);
const unplaced = h('p', { class: 'note', hidden: true });
byId('map').append(drawing, unplaced);
byId('legend').append(
  ...STEPS.map(([, name, title]) => h('span', null, h('i', { class: name }), title)),
  h('span', null, h('i', { class: 'flow' }), 'forwarded'),
  h('span', null, h('i', { class: 'client' }), 'clients'),
);

/** A bow from `a` to `b`, by the shorter way round; twice where that crosses the edge of the map. */
const bow = (a, b, height) => {
  const world = WIDTH;
  const around = b.x - a.x > world / 2 ? -world : b.x - a.x < -world / 2 ? world : 0;
  const one = (from, to) => {
    const lift = Math.hypot(to.x - from.x, to.y - from.y) * height;
    return `M${from.x.toFixed(1)} ${from.y.toFixed(1)}Q${((from.x + to.x) / 2).toFixed(1)} ${((from.y + to.y) / 2 - lift).toFixed(1)} ${to.x.toFixed(1)} ${to.y.toFixed(1)}`;
  };
  const there = one(a, { x: b.x + around, y: b.y });
  return around ? there + one({ x: a.x - around, y: a.y }, b) : there;
};

const TONES = ['good', 'warn', 'bad'];

const tone = (node) => {
  if (node.state === 'unreachable') return 'bad';
  if (node.state !== 'ready') return 'warn';
  const usable = node.upstreams.filter((upstream) => upstream.usable).length;
  if (node.upstreams.length && usable === 0) return 'bad';
  return usable < node.upstreams.length ? 'warn' : 'good';
};

/** Groups nodes that are nearly at one point. */
const merge = (nodes, self) => {
  const found = [];
  for (const node of nodes) {
    const at = { x: x(node.location.lon), y: y(node.location.lat) };
    const near = found.find((place) => Math.hypot(place.x - at.x, place.y - at.y) < MERGED_WITHIN);
    if (near) near.nodes.push(node);
    else found.push({ ...at, nodes: [node] });
  }
  for (const place of found) {
    place.key = place.nodes[0].name;
    place.isSelf = place.nodes.some((node) => node.name === self);
    place.tone = TONES[Math.max(...place.nodes.map((node) => TONES.indexOf(tone(node))))];
    const regions = [...new Set(place.nodes.map((node) => node.region))];
    place.name = place.nodes.length === 1 ? place.nodes[0].name : `${regions.slice(0, 2).join(', ')} ×${place.nodes.length}`;
    place.rtt = Math.min(...place.nodes.map((node) => node.rtt_ms ?? Infinity));
  }
  return found;
};

/** Finds a place for each label where it covers no other; one without such a place is left out. */
const label = (found) => {
  const boxes = found.map(({ x: left, y: top }) => ({ left: left - 7, right: left + 7, top: top - 7, bottom: top + 7 }));
  const covers = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const order = [...found].sort((a, b) => b.isSelf - a.isSelf || TONES.indexOf(b.tone) - TONES.indexOf(a.tone));
  for (const place of order) {
    place.second = place.isSelf ? 'this node' : Number.isFinite(place.rtt) ? milliseconds(place.rtt) : '';
    const width = Math.max(place.name.length * 8, place.second.length * 6.6) + 4;
    const own = boxes[found.indexOf(place)];
    const tries = [
      ['start', 11, 4], ['end', -11, 4], ['middle', 0, -22], ['middle', 0, 21],
    ].map(([anchor, dx, dy]) => {
      const begin = place.x + dx - { start: 0, end: width, middle: width / 2 }[anchor];
      const box = { left: begin, right: begin + width, top: place.y + dy - 12, bottom: place.y + dy + 16 };
      return { anchor, dx, dy, box };
    });
    const isFree = ({ box }) => box.left > 0 && box.right < WIDTH && box.bottom < HEIGHT && !boxes.some((other) => other !== own && covers(box, other));
    place.label = tries.find(isFree) ?? null;
    if (place.label) boxes.push(place.label.box);
  }
};

/** Whether nothing can be sent to any of its nodes, whatever their upstreams. */
const isGone = ({ nodes }) => nodes.every((node) => node.state === 'unreachable');

const drawPlaces = (found) => {
  const create = () => s('g', null, s('title'), s('circle', { class: 'halo', r: 10 }), s('circle', { class: 'core', r: 5 }), s('path', { class: 'cross', d: 'M-3 -3L3 3M-3 3L3 -3' }), s('text', { class: 'name' }), s('text', { class: 'rtt' }));
  each(places, found, (place) => place.key, create, (group, place) => {
    attribute(group, 'class', `place ${place.tone} ${place.isSelf ? 'self' : ''} ${isGone(place) ? 'gone' : ''}`);
    attribute(group, 'transform', `translate(${place.x.toFixed(1)} ${place.y.toFixed(1)})`);
    const [title, , , , name, rtt] = group.children;
    text(title, place.nodes.map((node) => `${node.name} (${node.region}): ${node.state}, link ${node.reach}${node.rtt_ms ? `, ${milliseconds(node.rtt_ms)}` : ''}`).join('\n'));
    text(name, place.label ? place.name : '');
    text(rtt, place.label ? place.second : '');
    if (!place.label) return;
    for (const [line, below] of [[name, 0], [rtt, 12]]) {
      attribute(line, 'text-anchor', place.label.anchor);
      attribute(line, 'x', place.label.dx);
      attribute(line, 'y', place.label.dy + below);
    }
  });
};

export const showMap = (mesh) => {
  const placed = mesh.nodes.filter((node) => node.location);
  const found = merge(placed, mesh.self);
  label(found);
  drawPlaces(found);
  const self = found.find((place) => place.isSelf);
  const others = self ? found.filter((place) => place !== self) : [];
  each(links, others, (place) => place.key, () => s('path'), (path, place) => {
    const isOpen = place.nodes.some((node) => node.live && node.reach === 'open');
    attribute(path, 'class', `link ${isOpen && Number.isFinite(place.rtt) ? colour(place.rtt) : 'broken'}`);
    attribute(path, 'd', bow(self, place, 0.12));
  });
  const sent = new Map(mesh.forwarded.map((flow) => [flow.node, flow]));
  const busy = others
    .map((place) => ({ ...place, attempts: place.nodes.reduce((sum, node) => sum + (sent.get(node.name)?.attempts ?? 0), 0) }))
    .filter((place) => place.attempts > 0);
  each(flows, busy, (place) => place.key, () => s('path', { class: 'flow' }, s('title')), (path, place) => {
    attribute(path, 'd', bow(self, place, 0.24));
    path.style.strokeWidth = `${Math.min(5, 1.4 + Math.log10(place.attempts)).toFixed(1)}`;
    text(path.firstChild, `${plural(place.attempts, 'attempt')} forwarded to ${place.name} in the last minute`);
  });
  const origins = mesh.origins.filter((origin) => origin.location);
  each(clients, origins, (origin) => origin.area, () => s('g', { class: 'origin' }, s('title'), s('path'), s('circle')), (group, origin) => {
    const at = { x: x(origin.location.lon), y: y(origin.location.lat) };
    const [title, way, circle] = group.children;
    text(title, `${plural(origin.requests, 'request')} of clients in ${origin.area} in the last minute`);
    attribute(way, 'd', self ? bow(at, self, 0.06) : '');
    attribute(circle, 'cx', at.x.toFixed(1));
    attribute(circle, 'cy', at.y.toFixed(1));
    attribute(circle, 'r', Math.min(16, 5 + 2.5 * Math.log10(origin.requests)).toFixed(1));
  });
  const lost = mesh.nodes.length - placed.length;
  unplaced.hidden = lost === 0;
  text(unplaced, `${plural(lost, 'node')} without a place (node.location) ${lost === 1 ? 'is' : 'are'} not on the map.`);
  const forwarded = busy.reduce((sum, place) => sum + place.attempts, 0);
  attribute(drawing, 'aria-label', `World map: ${plural(placed.length, 'node')} placed, ${count(forwarded)} attempts forwarded and clients of ${plural(mesh.origins.length, 'area')} in the last minute. The tables below hold the same.`);
};
