// Wires the page: what /live tells goes to each part, and how the connection goes is told on top.
import { attribute, byId, text } from './dom.js';
import { showFigures } from './figures.js';
import { clock, span } from './format.js';
import { showMap } from './map.js';
import { showNodes } from './nodes.js';
import { showRegions } from './regions.js';
import { forgetRequests, takeRequests } from './requests.js';
import { SILENCE, Stream } from './stream.js';
import { showUpstreams } from './upstreams.js';
import { showVerdict } from './verdict.js';

const TOKEN = 'grapevine-token';
/** How often ages on the page grow while no news comes. */
const TICK = 500;
/** News older than this is told to be old. */
const OLD = 3_500;

let mesh = null;
let heardAt = 0;
let begins = true;
let lost = null;

const failed = (error) => {
  text(byId('footer'), `This page failed to show an event: ${error.message}`);
  console.error(error);
};

const show = () => {
  const names = [mesh.self, mesh.region !== mesh.self && mesh.region, mesh.worker_mode && `mode ${mesh.worker_mode}`];
  text(byId('here'), names.filter(Boolean).join(' · '));
  text(byId('footer'), `grapevine ${mesh.version} · the mesh as ${mesh.self} sees it at ${clock(mesh.time)}`);
  for (const part of [showVerdict, showFigures, showMap, showRegions, showUpstreams, showNodes]) part(mesh);
  attribute(byId('main'), 'aria-busy', null);
};

const heard = (name, data) => {
  try {
    if (name === 'mesh') {
      mesh = data;
      heardAt = Date.now();
      if (begins) forgetRequests();
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

/** Says how old the news is, and greys it when it is old. */
const tick = () => {
  const now = Date.now();
  const age = heardAt ? now - heardAt : 0;
  const isOld = lost !== null || (heardAt > 0 && age > OLD);
  document.body.classList.toggle('stale', isOld);
  const sign = byId('link-state');
  attribute(sign, 'data-tone', lost ? 'bad' : isOld ? 'warn' : heardAt ? 'good' : 'idle');
  const waits = byId('token').hidden ? 'Connecting' : 'Token needed';
  text(sign.lastElementChild, lost ? 'Not connected' : isOld ? 'No news' : heardAt ? 'Live' : waits);
  byId('banner').hidden = !isOld;
  if (!isOld) return;
  text(byId('banner-title'), lost ? `Connection lost: ${lost.reason}.` : 'The node has gone silent.');
  const shown = heardAt ? `What you see is of ${clock(heardAt / 1000)}, ${span(age)} ago.` : 'Nothing was heard yet.';
  const wait = lost ? lost.at - now : 0;
  const next = lost ? (wait > 500 ? ` Trying again in ${span(wait)}.` : ' Trying now.') : ` Connecting anew after ${span(SILENCE)} of silence.`;
  text(byId('banner-text'), shown + next);
};

const stream = new Stream(heard, state);
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
