// Watches /live, and reports the state of the connection.
//
// `fetch` instead of EventSource: it can send the token, reports why it was refused, and lets us choose when to
// try again. Events are lines `event: NAME` and `data: JSON`, ended by an empty one.
const FIRST_WAIT = 500;
const LONGEST_WAIT = 15_000;
/** Snapshots arrive at least every two seconds: a silence this long means that the node, or the path to it, hangs. */
export const SILENCE = 6_000;
/** The node bounds its events; more than this without an end is no event. */
const EVENT_CHARACTERS_MAX = 4 << 20;

const parse = (block) => {
  let [name, data] = ['message', ''];
  for (const line of block.split('\n')) {
    if (line.startsWith('event: ')) name = line.slice(7);
    else if (line.startsWith('data: ')) data += line.slice(6);
  }
  return [name, JSON.parse(data)];
};

const refusal = async (answer) => {
  const body = await answer.json().catch(() => null);
  return body?.error ?? `the node answered ${answer.status}`;
};

export class Stream {
  /** `receive(name, data)` for each event; `state(kind, detail)`: open, lost or token. */
  constructor(receive, state) {
    Object.assign(this, { receive, state, token: null, wait: FIRST_WAIT, timer: 0, abort: null });
  }

  /** Connects now, without waiting any longer. */
  async connect() {
    clearTimeout(this.timer);
    this.abort?.abort();
    const abort = new AbortController();
    this.abort = abort;
    this.listen();
    try {
      await this.read(abort.signal);
      this.again('the node ended the connection');
    } catch (error) {
      if (this.abort === abort) this.again(this.reason ?? error.message);
    }
  }

  async read(signal) {
    this.reason = null;
    const headers = this.token ? { authorization: `Bearer ${this.token}` } : {};
    const answer = await fetch('/live', { headers, signal, cache: 'no-store' });
    if (answer.status === 401) return this.state('token', this.token ? 'This token is wrong.' : '');
    if (!answer.ok) throw new Error(await refusal(answer));
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let held = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      this.listen();
      held += value;
      if (held.length > EVENT_CHARACTERS_MAX) throw new Error('an event is too long');
      const blocks = held.split('\n\n');
      held = blocks.pop();
      for (const block of blocks) this.take(block);
    }
  }

  take(block) {
    const [name, data] = parse(block);
    this.wait = FIRST_WAIT;
    this.refused = false;
    this.state('open');
    this.receive(name, data);
  }

  /** Waits for the next event. */
  listen() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => {
      this.reason = 'the node is silent';
      this.abort.abort();
    }, SILENCE);
  }

  again(reason) {
    clearTimeout(this.silence);
    if (this.asked) return;
    const wait = this.wait * (0.8 + Math.random() * 0.4);
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
    this.state('lost', { reason, at: Date.now() + wait });
    this.timer = setTimeout(() => this.connect(), wait);
  }

  get asked() {
    return document.getElementById('token').hidden === false;
  }
}
