// The official openai SDK for Node against a node: openai_client.mjs BASE_URL KEY
//
// The mesh behind the node serves the models of tests/tests/api/real_clients.rs.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

// Packages lie in tests/.env, where an import by name does not look.
const installed = createRequire(fileURLToPath(new URL('../.env/node/package.json', import.meta.url)));
const { OpenAI } = installed('openai');

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 20_000 });
const prompt = 'tell me about the vine on the wall please';
const messages = [{ role: 'user', content: prompt }];
const filler = 'and the vine carries every word from root to leaf and back again'.split(' ');

// The text that the mock called `upstream` answers to the prompt.
function answerText(upstream, words = 16) {
  const digest = createHash('sha256').update(prompt).digest('hex').slice(0, 8);
  const text = ['Upstream', upstream, 'heard', `${digest}:`, ...prompt.split(' ').slice(0, 6)];
  while (text.length < words) text.push(...filler);
  return text.slice(0, words).join(' ');
}

const ask = (model, more = {}, options = {}) => client.chat.completions.create({ model, messages, ...more }, options);

async function fails(kind, call) {
  const error = await call().then(
    (result) => assert.fail(`no ${kind.name} but ${JSON.stringify(result)}`),
    (error) => error,
  );
  assert.equal(error.constructor.name, kind.name, String(error));
  return error;
}

const facts = {
  async 'a chat is answered with the upstream\'s text and our headers'() {
    const { data, response, request_id } = await ask('gpt-4o').withResponse();
    assert.equal(data.choices[0].message.content, answerText(response.headers.get('x-grapevine-upstream')));
    for (const name of ['node', 'region', 'model', 'path', 'hops', 'attempts', 'overhead-ms', 'upstream-ms', 'reason']) {
      assert.ok(response.headers.get(`x-grapevine-${name}`), `no x-grapevine-${name}`);
    }
    assert.ok(request_id);
  },

  async 'a stream\'s text is what the upstream sent'() {
    const { data, response } = await ask('gpt-4o', { stream: true }).withResponse();
    let text = '';
    let reason;
    for await (const chunk of data) {
      text += chunk.choices[0]?.delta.content ?? '';
      reason = chunk.choices[0]?.finish_reason ?? reason;
    }
    assert.equal(text, answerText(response.headers.get('x-grapevine-upstream')));
    assert.ok(['stop', 'length'].includes(reason), reason);
  },

  async 'a stream through a hop arrives whole'() {
    const { data, response } = await ask('far', { stream: true }).withResponse();
    assert.equal(response.headers.get('x-grapevine-hops'), '1');
    let text = '';
    for await (const chunk of data) text += chunk.choices[0]?.delta.content ?? '';
    assert.equal(text, answerText('far'));
  },

  async 'embeddings come as vectors'() {
    const answer = await client.embeddings.create({ model: 'text-embedding-3-small', input: ['a vine', 'a leaf'] });
    assert.equal(answer.data.length, 2);
    assert.ok(answer.data[0].embedding.length > 1);
    assert.ok(answer.data[0].embedding.every(Number.isFinite));
  },

  async 'models are the union over the mesh'() {
    const models = new Set();
    for await (const model of client.models.list()) models.add(model.id);
    for (const name of ['gpt-4o', 'far', 'text-embedding-3-small', 'claude-test']) assert.ok(models.has(name), name);
  },

  async '400 is a bad request error with the upstream\'s body'() {
    const error = await fails(OpenAI.BadRequestError, () => ask('fails-400'));
    assert.match(error.message, /injected by the mock/);
    assert.ok(error.headers.get('x-grapevine-node'));
  },

  async '401 is an authentication error when the key is wrong'() {
    const stranger = new OpenAI({ baseURL, apiKey: 'sk-wrong', maxRetries: 0 });
    const error = await fails(OpenAI.AuthenticationError, () => stranger.models.list());
    assert.equal(error.code, 'invalid_api_key');
  },

  async '404 is a not found error'() {
    const error = await fails(OpenAI.NotFoundError, () => ask('gpt-4oo'));
    assert.equal(error.code, 'model_not_found');
  },

  async '422 is an unprocessable entity error'() {
    await fails(OpenAI.UnprocessableEntityError, () => ask('fails-422'));
  },

  async '429 is a rate limit error with retry-after'() {
    const error = await fails(OpenAI.RateLimitError, () => ask('fails-429'));
    const after = Number(error.headers.get('retry-after'));
    assert.ok(after > 0 && after <= 3, String(after));
  },

  async 'a client that obeys retry-after is served'() {
    for (let turn = 0; turn < 2; turn += 1) {
      const answer = await ask('limited', {}, { maxRetries: 3 });
      assert.equal(answer.choices[0].message.content, answerText('limited'));
    }
  },

  async '500 is an internal server error'() {
    const error = await fails(OpenAI.InternalServerError, () => ask('fails-500'));
    assert.equal(error.status, 500);
  },

  async 'the client\'s own timeout is a timeout error'() {
    await fails(OpenAI.APIConnectionTimeoutError, () => ask('hangs', {}, { timeout: 700 }));
  },

  async 'a stream that breaks is an error after the text so far'() {
    let text = '';
    const error = await ask('cut', { stream: true })
      .then(async (stream) => {
        for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
      })
      .then(() => undefined, (error) => error);
    assert.ok(error, `a broken stream passed for a whole one: ${text}`);
    assert.equal(text, answerText('cut', 5));
  },

  async 'a stream can be aborted early'() {
    const stream = await ask('slow', { stream: true });
    let chunks = 0;
    for await (const chunk of stream) {
      chunks += chunk.choices.length;
      if (chunks >= 3) break;
    }
    assert.ok(stream.controller.signal.aborted);
  },
};

let failed = 0;
for (const [name, check] of Object.entries(facts)) {
  const start = performance.now();
  const time = () => `${((performance.now() - start) / 1000).toFixed(2)} s`;
  try {
    await check();
    console.log(`ok ${name} (${time()})`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name} (${time()})\n${error.stack}`);
  }
}
console.log(`${Object.keys(facts).length - failed} facts hold, ${failed} do not`);
process.exit(failed ? 1 : 0);
