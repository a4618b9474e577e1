// The figures on top, each with its last ten minutes.
import { attribute, byId, h, s, text } from './dom.js';
import { count, milliseconds, percent, rate } from './format.js';

const WIDTH = 240;
const HEIGHT = 44;

/** A line over `values`, with gaps where there is none. `ceiling` is the least height that counts as full. */
export const sparkline = (name) => {
  const area = s('path', { class: 'area' });
  const line = s('path', { class: 'line' });
  const drawing = s('svg', { class: `spark ${name}`, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' }, area, line);
  return { drawing, area, line };
};

export const draw = ({ area, line }, values, ceiling) => {
  // Some room above, so that what is level does not look full.
  const top = 1.25 * Math.max(ceiling, ...values.filter((value) => value !== null));
  const step = WIDTH / Math.max(1, values.length - 1);
  const height = (value) => HEIGHT - 2 - (value / top) * (HEIGHT - 6);
  let [path, fill, begin] = ['', '', null];
  const close = (index) => {
    if (begin !== null) fill += `L${((index - 1) * step).toFixed(1)} ${HEIGHT}L${begin} ${HEIGHT}Z`;
    begin = null;
  };
  values.forEach((value, index) => {
    if (value === null) return close(index);
    const x = (index * step).toFixed(1);
    const point = `${x} ${height(value).toFixed(1)}`;
    path += `${begin === null ? 'M' : 'L'}${point}`;
    fill += `${begin === null ? 'M' : 'L'}${point}`;
    begin ??= x;
  });
  close(values.length);
  // A single point has no length: the round cap of a line makes it a dot.
  attribute(line, 'd', path.replace(/M([\d. ]+)(?=M|$)/g, 'M$1h0.01'));
  attribute(area, 'd', fill);
};

const figure = (title, name, about) => {
  const value = h('b');
  const unit = h('small');
  const spark = sparkline(name);
  const box = h('div', { class: 'figure', title: about }, h('h3', null, title), h('div', { class: 'value' }, value, unit), spark.drawing);
  return { box, value, unit, spark };
};

const boxes = {
  requests: figure('Requests, this node', 'plain', 'Requests that ended at this node, each second'),
  failed: figure('Failures, this node', 'failed', 'The share of requests at this node that failed in the last minute: with 5xx, or broken off by an upstream or a node'),
  p50: figure('First byte p50, this node', 'plain', 'Half of the requests answered here had their first byte by then'),
  p99: figure('First byte p99, this node', 'slow', '99 of 100 requests answered here had their first byte by then'),
  own: figure('In flight, this node', 'plain', 'Requests of clients that are in flight at this node'),
  mesh: figure('In flight, mesh', 'plain', 'Requests in flight at the upstreams of all nodes, as far as this node knows; peers publish no rates'),
};
const underWay = [];
const inMesh = [];
byId('figures').append(...Object.values(boxes).map(({ box }) => box));

/** Every line spans ten minutes, also of a node that is younger. */
const SPAN = 120;
const padded = (values) => [...Array(Math.max(0, SPAN - values.length)).fill(null), ...values];

const sum = (values) => values.reduce((total, value) => total + value, 0);

export const showFigures = ({ pulse, under_way, regions }) => {
  const { requests, failed, p50_ms, p99_ms, interval_s, elapsed_s } = pulse;
  // The last interval is not over: with the one before it the rate is of 5 to 10 seconds.
  const seconds = Math.max(1, (requests.length > 1 ? interval_s : 0) + elapsed_s);
  text(boxes.requests.value, rate(sum(requests.slice(-2)) / seconds));
  text(boxes.requests.unit, ' /s');
  const each = requests.slice(0, -1).map((value) => value / interval_s);
  draw(boxes.requests.spark, padded(each), 1);
  const minute = Math.ceil(60 / interval_s);
  const [lately, broken] = [sum(requests.slice(-minute)), sum(failed.slice(-minute))];
  text(boxes.failed.value, lately ? percent(broken / lately) : '–');
  text(boxes.failed.unit, broken ? ` ${count(broken)} of ${count(lately)}` : '');
  attribute(boxes.failed.box, 'data-tone', broken ? 'bad' : null);
  draw(boxes.failed.spark, padded(requests.map((value, index) => (value ? failed[index] / value : null))), 0.05);
  for (const [box, values] of [[boxes.p50, p50_ms], [boxes.p99, p99_ms]]) {
    const last = values.slice(-minute).findLast((value) => value !== null);
    const [number, unit] = milliseconds(last ?? null).split(' ');
    text(box.value, number);
    text(box.unit, unit ? ` ${unit}` : '');
    draw(box.spark, padded(values), 10);
  }
  for (const [box, values, now] of [[boxes.own, underWay, under_way], [boxes.mesh, inMesh, sum(regions.map((it) => it.in_flight))]]) {
    values.push(now);
    if (values.length > SPAN) values.shift();
    text(box.value, count(now));
    draw(box.spark, values.length > 1 ? values : [now, now], 4);
  }
};
