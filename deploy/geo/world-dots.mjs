// Writes node/console/src/admin/dashboard/world.js: the land of the Earth as rows of dots, for the dashboard's map.
//
//   npm install --prefix /tmp/atlas world-atlas@2.0.2 && node deploy/geo/world-dots.mjs /tmp/atlas
//
// Source: Natural Earth's land, 1:50m (public domain), as TopoJSON in npm `world-atlas` (ISC). A dot is
// where at least 40 % of its cell is land. Antarctica is left out: nobody routes there.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const STEP = 2; // degrees between dots
const NORTH = 78;
const SOUTH = -56;
const SAMPLES = 5; // a side of a cell
const LAND_MIN = 0.4;

const folder = process.argv[2];
const atlas = JSON.parse(readFileSync(join(folder, 'node_modules/world-atlas/land-50m.json'), 'utf8'));
const { scale, translate } = atlas.transform;

// TopoJSON: arcs of whole numbers, each point as the difference from the one before.
const arcs = atlas.arcs.map((arc) => {
  let [x, y] = [0, 0];
  return arc.map(([dx, dy]) => {
    x += dx;
    y += dy;
    return [x * scale[0] + translate[0], y * scale[1] + translate[1]];
  });
});
const ring = (indices) => indices.flatMap((index) => (index < 0 ? [...arcs[~index]].reverse() : arcs[index]));
const shapes = atlas.objects.land.geometries ?? [atlas.objects.land];
const rings = shapes
  .flatMap((shape) => (shape.type === 'Polygon' ? [shape.arcs] : shape.arcs))
  .flat()
  .map(ring)
  .map((points) => ({ points, south: Math.min(...points.map(([, y]) => y)), north: Math.max(...points.map(([, y]) => y)) }));

// Even-odd: a hole is a ring within a ring.
const isLand = (x, y) => {
  let inside = false;
  for (const { points, south, north } of rings) {
    if (y < south || y > north) continue;
    for (let i = 0, j = points.length - 1; i < points.length; j = i++) {
      const [[xi, yi], [xj, yj]] = [points[i], points[j]];
      if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
    }
  }
  return inside;
};

const share = (x, y) => {
  let hits = 0;
  for (let i = 0; i < SAMPLES; i++) {
    for (let j = 0; j < SAMPLES; j++) {
      const at = (k) => ((k + 0.5) / SAMPLES - 0.5) * STEP;
      if (isLand(x + at(i), y + at(j))) hits++;
    }
  }
  return hits / (SAMPLES * SAMPLES);
};

// Rows from the north, every second one moved by half a step; each as [start, length, start, length, ...].
const rows = [];
for (let y = NORTH; y >= SOUTH; y -= STEP) {
  const shift = rows.length % 2 ? STEP / 2 : 0;
  const runs = [];
  let run = 0;
  const columns = 360 / STEP;
  for (let column = 0; column <= columns; column++) {
    const land = column < columns && share(-180 + column * STEP + shift, y) >= LAND_MIN;
    if (land) run++;
    else if (run) {
      runs.push(column - run, run);
      run = 0;
    }
  }
  rows.push(runs);
}
const text = `// The land of the Earth as rows of dots: written by deploy/geo/world-dots.mjs from Natural Earth's data
// (public domain). Rows go south from NORTH by STEP degrees, every second one moved east by half a step; each
// holds runs of land as [first column, length, ...].
export const NORTH = ${NORTH};
export const SOUTH = ${SOUTH};
export const STEP = ${STEP};
export const ROWS = [
${rows.map((runs) => `  [${runs.join(', ')}],`).join('\n')}
];
`;
const target = new URL('../../node/console/src/admin/dashboard/world.js', import.meta.url);
writeFileSync(target, text);
const dots = rows.flat().filter((_, index) => index % 2).reduce((sum, length) => sum + length, 0);
process.stdout.write(`${dots} dots, ${text.length} bytes\n`);
