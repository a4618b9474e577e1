// Wires the page: passes events of /live to each part, and shows the state of the connection on top.
import { attribute, byId, text } from './dom.js';
import { showFigures } from './figures.js';
import { fileNotes } from './files.js';
import { clock, span } from './format.js';
import { showLimits } from './limits.js';
import { showMap } from './map.js';
import { showNodes } from './nodes.js';
import { showRegions } from './regions.js';
import { forgetRequests, takeRequests } from './requests.js';
import { SILENCE, Stream } from './stream.js';
import { showUpstreams } from './upstreams.js';
import { followUsage } from './usage.js';
import { showVerdict } from './verdict.js';

const TOKEN = 'grapevine-token';
/** How often ages on the page are refreshed while no event arrives. */
const TICK = 500;
/** Data older than this is marked as old. */
const OLD = 3_500;

let mesh = null;
let receivedAt = 0;
let begins = true;
let lost = null;

const failed = (error) => {
  text(byId('footer'), `This page failed to show an event: ${error.message}`);
  console.error(error);
};

const show = () => {
  const names = [mesh.self, mesh.region !== mesh.self && mesh.region, mesh.worker_mode && `mode ${mesh.worker_mode}`];
  text(byId('here'), names.filter(Boolean).join(' · '));
  text(byId('footer'), [`grapevine ${mesh.version}`, `the mesh as ${mesh.self} sees it at ${clock(mesh.time)}`, ...fileNotes(mesh)].join(' · '));
  for (const part of [showVerdict, showFigures, showMap, showRegions, showUpstreams, showLimits, showNodes]) part(mesh);
  attribute(byId('main'), 'aria-busy', null);
};

const receive = (name, data) => {
  try {
    if (name === 'mesh') {
      mesh = data;
      receivedAt = Date.now();
      if (begins) {
        forgetRequests();
        askUsage();
      }
      begins = false;
      show();
    } else if (name === 'requests') takeRequests(data, mesh.self);
  } catch (error) {
    failed(error);
  }
};

const state = (kind, detail) => {
  byId('token').hidden = kind !== 'token';
  if (kind === 'token') {
    text(byId('token-error'), detail);
    byId('token-value').focus();
  }
  if (kind === 'lost') begins = true;
  lost = kind === 'lost' ? { ...detail, since: lost?.since ?? Date.now() } : null;
  tick();
};

/** Shows the age of the data, and greys it when it is old. */
const tick = () => {
  const now = Date.now();
  const age = receivedAt ? now - receivedAt : 0;
  const isOld = lost !== null || (receivedAt > 0 && age > OLD);
  document.body.classList.toggle('stale', isOld);
  const sign = byId('link-state');
  attribute(sign, 'data-tone', lost ? 'bad' : isOld ? 'warn' : receivedAt ? 'good' : 'idle');
  const waits = byId('token').hidden ? 'Connecting' : 'Token needed';
  text(sign.lastElementChild, lost ? 'Not connected' : isOld ? 'Stale' : receivedAt ? 'Live' : waits);
  byId('banner').hidden = !isOld;
  if (!isOld) return;
  text(byId('banner-title'), lost ? `Connection lost: ${lost.reason}.` : 'The node has gone silent.');
  const shown = receivedAt ? `The data shown is from ${clock(receivedAt / 1000)}, ${span(age)} ago.` : 'No data yet.';
  const wait = lost ? lost.at - now : 0;
  const next = lost ? (wait > 500 ? ` Trying again in ${span(wait)}.` : ' Trying now.') : ` Reconnecting after ${span(SILENCE)} of silence.`;
  text(byId('banner-text'), shown + next);
};

const stream = new Stream(receive, state);
const askUsage = followUsage(() => stream.token);
try {
  stream.token = sessionStorage.getItem(TOKEN);
} catch {
  // Storage may be forbidden: the token is asked for again at every visit.
}
byId('token').addEventListener('submit', (event) => {
  event.preventDefault();
  stream.token = byId('token-value').value;
  byId('token-value').value = '';
  try {
    sessionStorage.setItem(TOKEN, stream.token);
  } catch {
    // As above.
  }
  byId('token').hidden = true;
  stream.connect();
});
byId('banner-again').addEventListener('click', () => stream.connect());
setInterval(tick, TICK);
stream.connect();
