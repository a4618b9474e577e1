// The official SDKs for Node, operated line by line by sdk_node.py: a request `{sdk, operation, model, ..}` on standard
// input, what the SDK read or the error it threw on standard output.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

// Packages lie in tests/.env, where an import by name does not look.
const installed = createRequire(pathToFileURL(`${process.env.NODE_PATH}/`));
const { default: OpenAI } = await import(pathToFileURL(installed.resolve('openai')));
const { default: Anthropic } = await import(pathToFileURL(installed.resolve('@anthropic-ai/sdk')));
const { AnthropicBedrock } = await import(pathToFileURL(installed.resolve('@anthropic-ai/bedrock-sdk')));
const { AnthropicVertex } = await import(pathToFileURL(installed.resolve('@anthropic-ai/vertex-sdk')));

const [root, terms] = process.argv.slice(2);
const { key, prompt, question, result, tool, schema, tokens } = JSON.parse(terms);
const options = { apiKey: key, maxRetries: 0, timeout: 20_000 };
const openai = new OpenAI({ baseURL: `${root}/v1`, ...options });
const anthropic = new Anthropic({ baseURL: root, ...options });
// A signature takes the place of the key, which goes beside it.
const amazon = { awsAccessKey: 'AKIAANY', awsSecretKey: 'any', awsRegion: 'us-east-1', defaultHeaders: { 'x-api-key': key } };
const anthropicBedrock = new AnthropicBedrock({ ...options, apiKey: null, baseURL: root, ...amazon });
const google = { projectId: 'any', getRequestHeaders: async () => new Headers({ authorization: `Bearer ${key}` }) };
const { apiKey, ...withoutKey } = options;
const anthropicVertex = new AnthropicVertex({ ...withoutKey, baseURL: `${root}/v1`, region: 'global', projectId: 'any', authClient: google });
const joined = (parts) => parts.join('');

const chat = {
  tools: [{ type: 'function', function: { name: tool, description: 'The weather.', parameters: schema } }],
  create: (model, content = prompt, more = {}) => openai.chat.completions.create({ model, messages: [{ role: 'user', content }], ...more }),
  read({ choices: [{ message, finish_reason }], usage }) {
    return { text: message.content, stop: finish_reason, tokens: usage?.completion_tokens, thought: message.reasoning_content ?? '' };
  },
  called({ choices: [{ message, finish_reason }] }) {
    const [call] = message.tool_calls;
    return { name: call.function.name, arguments: JSON.parse(call.function.arguments), stop: finish_reason };
  },
  async text(model, more) {
    return this.read(await this.create(model, prompt, more));
  },
  async stream(model, more) {
    const read = { text: '', stop: null, tokens: null, thought: '' };
    for await (const chunk of await this.create(model, prompt, { stream: true, stream_options: { include_usage: true }, ...more })) {
      read.tokens = chunk.usage?.completion_tokens ?? read.tokens;
      for (const choice of chunk.choices) {
        read.text += choice.delta.content ?? '';
        read.thought += choice.delta.reasoning_content ?? '';
        read.stop = choice.finish_reason ?? read.stop;
      }
    }
    return read;
  },
  async tool(model) {
    const answer = await this.create(model, question, { tools: this.tools });
    const [{ message }] = answer.choices;
    const messages = [{ role: 'user', content: question }, message, { role: 'tool', tool_call_id: message.tool_calls[0].id, content: result }];
    return { ...this.called(answer), after: (await this.text(model, { messages, tools: this.tools })).text };
  },
  async tool_stream(model) {
    const stream = openai.chat.completions.stream({ model, messages: [{ role: 'user', content: question }], tools: this.tools });
    return this.called(await stream.finalChatCompletion());
  },
  async image(model, url) {
    return this.read(await this.create(model, [{ type: 'text', text: 'what is it?' }, { type: 'image_url', image_url: { url } }]));
  },
  schema(model) {
    return this.text(model, { response_format: { type: 'json_schema', json_schema: { name: 'stay', schema, strict: true } } });
  },
  thinking(model) {
    return this.text(model, { reasoning_effort: 'low' });
  },
  thinking_stream(model) {
    return this.stream(model, { reasoning_effort: 'low' });
  },
};

const responses = {
  tools: [{ type: 'function', name: tool, description: 'The weather.', parameters: schema, strict: true }],
  create: (model, input = prompt, more = {}) => openai.responses.create({ model, input, ...more }),
  read({ output, output_text, status, usage }) {
    const thoughts = output.filter((item) => item.type === 'reasoning').flatMap((item) => item.summary.map((part) => part.text));
    return { text: output_text, stop: status, tokens: usage?.output_tokens, thought: joined(thoughts) };
  },
  called({ output, status }) {
    const call = output.find((item) => item.type === 'function_call');
    return { name: call.name, arguments: JSON.parse(call.arguments), stop: status };
  },
  async text(model, more) {
    return this.read(await this.create(model, prompt, more));
  },
  async stream(model, more) {
    let deltas = '';
    let final;
    for await (const event of await this.create(model, prompt, { stream: true, ...more })) {
      if (event.type === 'response.output_text.delta') deltas += event.delta;
      // Only the SDK's other methods put the text together.
      if (['response.completed', 'response.incomplete', 'response.failed'].includes(event.type)) final = this.read({ output_text: deltas, ...event.response });
    }
    return final ?? { text: deltas, stop: null, tokens: null };
  },
  async tool(model) {
    const answer = await this.create(model, question, { tools: this.tools });
    const { call_id } = answer.output.find((item) => item.type === 'function_call');
    const input = [{ role: 'user', content: question }, ...answer.output, { type: 'function_call_output', call_id, output: result }];
    return { ...this.called(answer), after: (await this.text(model, { input, tools: this.tools })).text };
  },
  async tool_stream(model) {
    return this.called(await openai.responses.stream({ model, input: question, tools: this.tools }).finalResponse());
  },
  async image(model, image_url) {
    const content = [{ type: 'input_text', text: 'what is it?' }, { type: 'input_image', image_url, detail: 'auto' }];
    return this.read(await this.create(model, [{ role: 'user', content }]));
  },
  schema(model) {
    return this.text(model, { text: { format: { type: 'json_schema', name: 'stay', schema, strict: true } } });
  },
  thinking(model) {
    return this.text(model, { reasoning: { effort: 'low', summary: 'auto' } });
  },
  thinking_stream(model) {
    return this.stream(model, { reasoning: { effort: 'low', summary: 'auto' } });
  },
};

const messages = {
  client: anthropic,
  tools: [{ name: tool, description: 'The weather.', input_schema: schema }],
  options: (model, content = prompt, more = {}) => ({ model, max_tokens: tokens, messages: [{ role: 'user', content }], ...more }),
  read({ content, stop_reason, usage }) {
    const of = (type, field) => joined(content.filter((block) => block.type === type).map((block) => block[field]));
    return { text: of('text', 'text'), stop: stop_reason, tokens: usage.output_tokens, thought: of('thinking', 'thinking'), cached: usage.cache_read_input_tokens };
  },
  called({ content, stop_reason }) {
    const call = content.find((block) => block.type === 'tool_use');
    return { name: call.name, arguments: call.input, stop: stop_reason };
  },
  async text(model, content = prompt, more = {}) {
    return this.read(await this.client.messages.create(this.options(model, content, more)));
  },
  async stream(model, more) {
    return this.read(await this.client.messages.stream(this.options(model, prompt, more)).finalMessage());
  },
  async tool(model) {
    const answer = await this.client.messages.create(this.options(model, question, { tools: this.tools }));
    const { id } = answer.content.find((block) => block.type === 'tool_use');
    const turns = [
      { role: 'user', content: question },
      { role: 'assistant', content: answer.content },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: id, content: result }] },
    ];
    return { ...this.called(answer), after: (await this.text(model, question, { messages: turns, tools: this.tools })).text };
  },
  async tool_stream(model) {
    return this.called(await this.client.messages.stream(this.options(model, question, { tools: this.tools })).finalMessage());
  },
  image(model, url) {
    const source = { type: 'base64', media_type: 'image/png', data: url.split(',')[1] };
    return this.text(model, [{ type: 'text', text: 'what is it?' }, { type: 'image', source }]);
  },
  schema(model) {
    return this.text(model, prompt, { output_config: { format: { type: 'json_schema', schema } } });
  },
  thinking(model) {
    return this.text(model, prompt, { thinking: { type: 'enabled', budget_tokens: 1_024 } });
  },
  thinking_stream(model) {
    return this.stream(model, { thinking: { type: 'enabled', budget_tokens: 1_024 } });
  },
  cache(model) {
    return this.text(model, [{ type: 'text', text: prompt, cache_control: { type: 'ephemeral' } }]);
  },
  async count(model) {
    return (await this.client.messages.countTokens({ model, messages: [{ role: 'user', content: prompt }] })).input_tokens;
  },
};

const bedrock = { ...messages, client: anthropicBedrock };
const vertex = { ...messages, client: anthropicVertex };
const sdks = { chat, responses, messages, bedrock, vertex };
for await (const line of createInterface({ input: process.stdin })) {
  const { sdk, operation, parameters } = JSON.parse(line);
  const said = await (async () => sdks[sdk][operation](...parameters))().then(
    (value) => ({ value }),
    // A class without a name of its own, such as that of an error within a stream, is named by its maker.
    (error) => ({ error: error.constructor.name, message: `${error.message}` }),
  );
  process.stdout.write(`${JSON.stringify(said)}\n`);
}
