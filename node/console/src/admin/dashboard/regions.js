// A card for each region.
import { attribute, byId, each, h, setPill, text } from './dom.js';
import { count, milliseconds, NONE, plural } from './format.js';
import { draw, sparkline } from './figures.js';

const HISTORY_MAX = 120;
const history = new Map();

const tone = (region) => {
  if (region.live === 0 || region.reachable === 0) return ['bad', region.live === 0 ? 'dead' : 'unreachable'];
  if (region.upstreams && region.usable === 0) return ['bad', 'no upstream'];
  if (region.usable < region.upstreams) return ['warn', 'impaired'];
  if (region.reachable < region.nodes) return ['warn', 'nodes missing'];
  return ['good', 'healthy'];
};

const create = () => {
  const cell = (title) => h('div', null, h('dt', null, title), h('dd'));
  const spark = sparkline('plain');
  const card = h(
    'article',
    { class: 'region' },
    h('div', { class: 'top' }, h('h3'), h('span', { class: 'own', hidden: true }, 'here'), h('span', { class: 'state' })),
    h('dl', null, cell('Nodes'), cell('Upstreams'), cell('Round trip'), cell('First byte')),
    spark.drawing,
    h('div', { class: 'load' }, h('div', { class: 'meter' }, h('i')), h('span')),
  );
  card.spark = spark;
  return card;
};

const update = (card, region, mesh) => {
  const [title, own, state] = card.querySelector('.top').children;
  text(title, region.name);
  own.hidden = region.name !== mesh.region;
  setPill(state, ...tone(region));
  const values = [
    `${region.live}/${region.nodes}`,
    `${region.usable}/${region.upstreams}`,
    region.name === mesh.region ? NONE : milliseconds(region.rtt_ms),
    milliseconds(region.ttft_ms),
  ];
  [...card.querySelectorAll('dd')].forEach((cell, index) => text(cell, values[index]));
  const past = history.get(region.name) ?? [];
  past.push(region.ttft_ms);
  if (past.length > HISTORY_MAX) past.shift();
  history.set(region.name, past);
  draw(card.spark, past.length > 1 ? past : [region.ttft_ms, region.ttft_ms], 10);
  const share = region.in_flight_max ? Math.min(1, region.in_flight / region.in_flight_max) : 0;
  const [meter, label] = card.querySelector('.load').children;
  meter.firstChild.style.width = `${share * 100}%`;
  attribute(meter, 'data-tone', share >= 0.85 ? 'warn' : null);
  text(label, `${count(region.in_flight)} of ${count(region.in_flight_max)} in flight`);
};

export const showRegions = (mesh) => {
  const weight = (region) => ({ bad: 0, warn: 1, good: 2 })[tone(region)[0]];
  const order = (one, other) => weight(one) - weight(other) || (one.rtt_ms ?? 1e9) - (other.rtt_ms ?? 1e9);
  const regions = [...mesh.regions].sort(order);
  text(byId('regions-note'), plural(regions.length, 'region'));
  each(byId('regions'), regions, (region) => region.name, create, (card, region) => update(card, region, mesh));
};
