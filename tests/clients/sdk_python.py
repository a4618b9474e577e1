"""The official SDKs for Python, each as the same few operations. `ALL` lists them.

An operation returns what the SDK itself read: a `Read`, or for a tool call the call and the answer to its result.
"""

import copy
import json
from collections import defaultdict
from dataclasses import dataclass

import anthropic
import boto3
import botocore.config
import botocore.exceptions
import httpx2
import openai
import urllib3.exceptions
from dialect_upstream import ARGUMENTS
from google import genai
from google.genai import errors as gemini_errors
from google.genai import types as gemini

PROMPT = "tell me about the vine on the wall please"
RESULT = "mild and dry"
TOOL, OTHER_TOOL = "weather", "climate"
# A mock calls those of these tools that it is offered.
QUESTION = " and ".join(f"call {tool} {json.dumps(ARGUMENTS)}" for tool in (TOOL, OTHER_TOOL))
PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63f8cfc0f01f0005000"
    "1ff7f5bd0550000000049454e44ae426082"
)
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
KEY = "sk-any"
TOKENS = 2048


@dataclass
class Read:
    text: str
    stop: str | None
    tokens: int | None
    thought: str = ""
    cached: int | None = None


@dataclass
class Called:
    name: str
    arguments: dict
    stop: str | None
    calls: int = 1
    after: str = ""


class OpenAiChat:
    name = "openai (Python)"
    api = "chat"
    STOPS = ("stop", "tool_calls")
    broken = openai.APIError
    errors = {400: openai.BadRequestError, 404: openai.NotFoundError, 429: openai.RateLimitError}
    tools = [{"type": "function", "function": {"name": TOOL, "description": "The weather.", "parameters": SCHEMA}}]
    thinks = {"reasoning_effort": "low"}
    own = {
        "n": {"n": 2},
        "logprobs": {"logprobs": True},
        "logit_bias": {"logit_bias": {"42": -1}},
        "seed": {"seed": 1},
        "presence_penalty": {"presence_penalty": 0.5},
        "stop": {"stop": ["vine-stop"]},
    }

    def __init__(self, root):
        self.client = openai.OpenAI(base_url=f"{root}/v1", api_key=KEY, max_retries=0, timeout=20)

    def create(self, model, content=PROMPT, messages=None, **more):
        messages = messages or [{"role": "user", "content": content}]
        return self.client.chat.completions.create(model=model, messages=messages, **more)

    def text(self, model, **more):
        answer = self.create(model, **more)
        message = answer.choices[0].message
        details = answer.usage.prompt_tokens_details
        thought = getattr(message, "reasoning_content", None) or ""
        stop, tokens = answer.choices[0].finish_reason, answer.usage.completion_tokens
        return Read(message.content, stop, tokens, thought, details and details.cached_tokens)

    def stream(self, model, **more):
        read = Read("", None, None)
        for chunk in self.create(model, stream=True, stream_options={"include_usage": True}, **more):
            if chunk.usage:
                read.tokens = chunk.usage.completion_tokens
            for choice in chunk.choices:
                read.text += choice.delta.content or ""
                read.thought += getattr(choice.delta, "reasoning_content", None) or ""
                read.stop = choice.finish_reason or read.stop
        return read

    def tool(self, model, **more):
        answer = self.create(model, QUESTION, tools=self.tools, **more)
        calls = answer.choices[0].message.tool_calls
        [call, *_] = calls
        called = Called(
            call.function.name, json.loads(call.function.arguments), answer.choices[0].finish_reason, len(calls)
        )
        said = answer.choices[0].message.model_dump(exclude_none=True)
        turns = [{"role": "user", "content": QUESTION}, said]
        turns += [{"role": "tool", "tool_call_id": call.id, "content": RESULT} for call in calls]
        called.after = self.text(model, messages=turns, tools=self.tools, **more).text
        return called

    def thinking_tool(self, model):
        return self.tool(model, **self.thinks)

    def tool_stream(self, model):
        with self.client.chat.completions.stream(
            model=model, messages=[{"role": "user", "content": QUESTION}], tools=self.tools
        ) as stream:
            choice = stream.get_final_completion().choices[0]
        [call, *others] = choice.message.tool_calls
        assert all(other.function.arguments == call.function.arguments for other in others), others
        return Called(call.function.name, json.loads(call.function.arguments), choice.finish_reason, 1 + len(others))

    def image(self, model, data_url):
        return self.text(
            model,
            content=[{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": data_url}}],
        )

    def schema(self, model):
        form = {"type": "json_schema", "json_schema": {"name": "stay", "schema": SCHEMA, "strict": True}}
        return self.text(model, response_format=form)

    def thinking(self, model):
        return self.text(model, **self.thinks)

    def thinking_stream(self, model):
        return self.stream(model, **self.thinks)


class AzureChat(OpenAiChat):
    name = "openai AzureOpenAI (Python)"
    # The same API by another address.
    own = {}

    def __init__(self, root):
        self.client = openai.AzureOpenAI(
            azure_endpoint=root, api_version="2024-10-21", api_key=KEY, max_retries=0, timeout=20
        )


class OpenAiResponses(OpenAiChat):
    api = "responses"
    STOPS = ("completed", "completed")
    tools = [{"type": "function", "name": TOOL, "description": "The weather.", "parameters": SCHEMA, "strict": True}]
    thinks = {"reasoning": {"effort": "low", "summary": "auto"}}
    own = {
        "previous_response_id": {"previous_response_id": "resp_0"},
        "file_search": {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]},
        "truncation": {"truncation": "auto"},
        "instructions": {"instructions": "Be brief."},
    }

    def create(self, model, content=PROMPT, **more):
        return self.client.responses.create(model=model, input=content, **more)

    @staticmethod
    def read(answer):
        thoughts = [part.text for item in answer.output if item.type == "reasoning" for part in item.summary]
        cached = answer.usage and answer.usage.input_tokens_details.cached_tokens
        tokens = answer.usage and answer.usage.output_tokens
        return Read(answer.output_text, answer.status, tokens, "".join(thoughts), cached)

    def text(self, model, **more):
        return self.read(self.create(model, **more))

    def stream(self, model, **more):
        deltas, final = "", None
        for event in self.create(model, stream=True, **more):
            if event.type == "response.output_text.delta":
                deltas += event.delta
            if event.type in ("response.completed", "response.incomplete", "response.failed"):
                final = self.read(event.response)
        if final is None:
            return Read(deltas, None, None)
        assert final.text == deltas, f"{final.text!r} at the end of {deltas!r}"
        return final

    def called(self, answer):
        calls = [item for item in answer.output if item.type == "function_call"]
        assert all(call.arguments == calls[0].arguments for call in calls), calls
        return calls, Called(calls[0].name, json.loads(calls[0].arguments), answer.status, len(calls))

    def tool(self, model, **more):
        answer = self.create(model, QUESTION, tools=self.tools, **more)
        calls, called = self.called(answer)
        turns = [{"role": "user", "content": QUESTION}, *answer.output]
        turns += [{"type": "function_call_output", "call_id": call.call_id, "output": RESULT} for call in calls]
        called.after = self.text(model, content=turns, tools=self.tools, **more).text
        return called

    def tool_stream(self, model):
        with self.client.responses.stream(model=model, input=QUESTION, tools=self.tools) as stream:
            return self.called(stream.get_final_response())[1]

    def image(self, model, data_url):
        parts = [{"type": "input_text", "text": "what is it?"}, {"type": "input_image", "image_url": data_url}]
        return self.text(model, content=[{"role": "user", "content": parts}])

    def schema(self, model):
        return self.text(
            model, text={"format": {"type": "json_schema", "name": "stay", "schema": SCHEMA, "strict": True}}
        )

    def thinking(self, model):
        return self.text(model, **self.thinks)

    def thinking_stream(self, model):
        return self.stream(model, **self.thinks)


class AnthropicPlatform:
    """The messages of every client of Anthropic's SDK; not all of them count tokens."""

    api = "messages"
    STOPS = ("end_turn", "tool_use")
    broken = anthropic.APIError
    errors = {400: anthropic.BadRequestError, 404: anthropic.NotFoundError, 429: anthropic.RateLimitError}
    tools = [{"name": TOOL, "description": "The weather.", "input_schema": SCHEMA}]
    thinks = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    own = {}

    @staticmethod
    def options(model, content=PROMPT, messages=None, **more):
        messages = messages or [{"role": "user", "content": content}]
        return {"model": model, "max_tokens": TOKENS, "messages": messages, **more}

    @staticmethod
    def read(message):
        text = "".join(block.text for block in message.content if block.type == "text")
        thought = "".join(block.thinking for block in message.content if block.type == "thinking")
        usage = message.usage
        return Read(text, message.stop_reason, usage.output_tokens, thought, usage.cache_read_input_tokens)

    def text(self, model, **more):
        return self.read(self.client.messages.create(**self.options(model, **more)))

    def stream(self, model, **more):
        deltas = ""
        with self.client.messages.stream(**self.options(model, **more)) as stream:
            for text in stream.text_stream:
                deltas += text
            final = self.read(stream.get_final_message())
        assert final.text == deltas, f"{final.text!r} at the end of {deltas!r}"
        return final

    def called(self, message):
        calls = [block for block in message.content if block.type == "tool_use"]
        assert all(call.input == calls[0].input for call in calls), calls
        return calls, Called(calls[0].name, calls[0].input, message.stop_reason, len(calls))

    def tool(self, model, **more):
        answer = self.client.messages.create(**self.options(model, QUESTION, tools=self.tools, **more))
        calls, called = self.called(answer)
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": RESULT} for call in calls]
        turns = [
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": answer.content},
            {"role": "user", "content": results},
        ]
        called.after = self.text(model, messages=turns, tools=self.tools, **more).text
        return called

    def thinking_tool(self, model):
        return self.tool(model, **self.thinks)

    def tool_stream(self, model):
        with self.client.messages.stream(**self.options(model, QUESTION, tools=self.tools)) as stream:
            return self.called(stream.get_final_message())[1]

    def image(self, model, data_url):
        source = {"type": "base64", "media_type": "image/png", "data": data_url.partition(",")[2]}
        return self.text(model, content=[{"type": "text", "text": "what?"}, {"type": "image", "source": source}])

    def schema(self, model):
        return self.text(model, output_config={"format": {"type": "json_schema", "schema": SCHEMA}})

    def thinking(self, model):
        return self.text(model, **self.thinks)

    def thinking_stream(self, model):
        return self.stream(model, **self.thinks)

    def cache(self, model):
        marked = {"type": "text", "text": PROMPT, "cache_control": {"type": "ephemeral"}}
        return self.text(model, content=[marked])


class AnthropicMessages(AnthropicPlatform):
    name = "anthropic (Python)"
    own = {
        "top_k": {"extra_body": {"top_k": 5}},
        "web_search": {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        "stop_sequences": {"stop_sequences": ["vine-stop"]},
        "metadata": {"metadata": {"user_id": "u"}},
        "system": {"system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]},
    }

    def __init__(self, root):
        self.client = anthropic.Anthropic(base_url=root, api_key=KEY, max_retries=0, timeout=20)

    def count(self, model):
        counted = self.client.messages.count_tokens(model=model, messages=[{"role": "user", "content": PROMPT}])
        return counted.input_tokens


class AnthropicBedrock(AnthropicPlatform):
    name = "anthropic AnthropicBedrock (Python)"
    # What reads the stream's bytes is not wrapped by the SDK.
    broken = (anthropic.APIError, httpx2.RemoteProtocolError)

    def __init__(self, root):
        # A signature takes the place of the key, which goes beside it.
        self.client = anthropic.AnthropicBedrock(
            base_url=root,
            aws_region="us-east-1",
            aws_access_key="AKIAANY",
            aws_secret_key="any",
            default_headers={"x-api-key": KEY},
            max_retries=0,
            timeout=20,
        )


class AnthropicVertex(AnthropicPlatform):
    name = "anthropic AnthropicVertex (Python)"
    count = AnthropicMessages.count

    def __init__(self, root):
        self.client = anthropic.AnthropicVertex(
            base_url=f"{root}/v1", region="global", project_id="any", access_token=KEY, max_retries=0, timeout=20
        )


class GoogleGenAi:
    name = "google-genai (Python)"
    api = "gemini"
    STOPS = ("STOP", "STOP")
    broken = (gemini_errors.APIError, httpx2.RemoteProtocolError)
    errors = {status: gemini_errors.ClientError for status in (400, 404, 429)}

    def __init__(self, root, api_version=None):
        options = gemini.HttpOptions(
            base_url=root,
            api_version=api_version,
            timeout=20_000,
            retry_options=gemini.HttpRetryOptions(attempts=1),
        )
        self.client = genai.Client(api_key=KEY, http_options=options)
        self.models = self.client.models
        function = gemini.FunctionDeclaration(name=TOOL, description="The weather.", parameters_json_schema=SCHEMA)
        other = function.model_copy(update={"name": OTHER_TOOL})
        by_hand = gemini.AutomaticFunctionCallingConfig(disable=True)
        self.tools, self.two_tools = (
            gemini.GenerateContentConfig(
                tools=[gemini.Tool(function_declarations=functions)], automatic_function_calling=by_hand
            )
            for functions in ([function], [function, other])
        )

    @staticmethod
    def add(read, answer):
        candidate = answer.candidates[0] if answer.candidates else None
        for part in (candidate and candidate.content and candidate.content.parts) or []:
            if part.thought:
                read.thought += part.text or ""
            else:
                read.text += part.text or ""
        if candidate and candidate.finish_reason:
            read.stop = candidate.finish_reason.value
        if answer.usage_metadata and answer.usage_metadata.candidates_token_count:
            read.tokens = answer.usage_metadata.candidates_token_count
        return read

    def text(self, model, contents=PROMPT, config=None):
        answer = self.models.generate_content(model=model, contents=contents, config=config)
        return self.add(Read("", None, None), answer)

    def stream(self, model, config=None):
        read = Read("", None, None)
        for chunk in self.models.generate_content_stream(model=model, contents=PROMPT, config=config):
            self.add(read, chunk)
        return read

    def tool(self, model, **more):
        config = self.tools.model_copy(update=more)
        answer = self.models.generate_content(model=model, contents=QUESTION, config=config)
        [call, *_] = calls = answer.function_calls
        called = Called(call.name, call.args, answer.candidates[0].finish_reason.value, len(calls))
        results = [gemini.FunctionResponse(id=call.id, name=call.name, response={"output": RESULT}) for call in calls]
        turns = [
            gemini.Content(role="user", parts=[gemini.Part(text=QUESTION)]),
            answer.candidates[0].content,
            gemini.Content(role="user", parts=[gemini.Part(function_response=one) for one in results]),
        ]
        called.after = self.text(model, turns, config).text
        return called

    def thinking_tool(self, model):
        thinks = gemini.ThinkingConfig(include_thoughts=True, thinking_budget=1024)
        return self.tool(model, thinking_config=thinks, max_output_tokens=TOKENS)

    def tool_stream(self, model):
        calls, stop = [], None
        for chunk in self.models.generate_content_stream(model=model, contents=QUESTION, config=self.tools):
            calls += chunk.function_calls or []
            reason = chunk.candidates and chunk.candidates[0].finish_reason
            stop = reason.value if reason else stop
        assert all(call.args == calls[0].args for call in calls), calls
        return Called(calls[0].name, calls[0].args, stop, len(calls))

    def count(self, model):
        return self.models.count_tokens(model=model, contents=PROMPT).total_tokens

    def image(self, model, _data_url):
        return self.text(model, [gemini.Part.from_bytes(data=PICTURE, mime_type="image/png"), "what is it?"])

    def schema(self, model):
        config = {"response_mime_type": "application/json", "response_json_schema": SCHEMA}
        return self.text(model, config=config)

    thoughts = {"thinking_config": {"include_thoughts": True, "thinking_budget": 1024}, "max_output_tokens": TOKENS}
    own = {
        "candidate_count": {"config": {"candidate_count": 2}},
        "top_k": {"config": {"top_k": 5}},
        "safety_settings": {
            "config": {"safety_settings": [{"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "BLOCK_ONLY_HIGH"}]}
        },
        "google_search": {"config": {"tools": [{"google_search": {}}]}},
        "stop_sequences": {"config": {"stop_sequences": ["vine-stop"]}},
        "system_instruction": {"config": {"system_instruction": "Be brief."}},
    }

    def thinking(self, model):
        return self.text(model, config=self.thoughts)

    def thinking_stream(self, model):
        return self.stream(model, config=self.thoughts)


class AmazonConverse:
    name = "boto3 (Python)"
    api = "converse"
    STOPS = ("end_turn", "tool_use")
    # What reads the stream's bytes is not wrapped by botocore.
    broken = (botocore.exceptions.EventStreamError, urllib3.exceptions.ProtocolError)
    errors = {400: "ValidationException", 404: "ResourceNotFoundException", 429: "ThrottlingException"}
    tools = {"tools": [{"toolSpec": {"name": TOOL, "description": "The weather.", "inputSchema": {"json": SCHEMA}}}]}

    def __init__(self, root):
        self.client = boto3.client(
            "bedrock-runtime",
            endpoint_url=root,
            region_name="us-east-1",
            aws_access_key_id="AKIAANY",
            aws_secret_access_key="any",
            config=botocore.config.Config(retries={"total_max_attempts": 1}, read_timeout=20),
        )
        # A signature takes the place of the key, which goes beside it.
        self.client.meta.events.register("before-sign", lambda request, **_: request.headers.add_header("x-api-key", KEY))

    @staticmethod
    def options(model, content=None, messages=None, **more):
        content = content or [{"text": PROMPT}]
        messages = messages or [{"role": "user", "content": content}]
        return {"modelId": model, "messages": messages, "inferenceConfig": {"maxTokens": TOKENS}, **more}

    def text(self, model, **more):
        answer = self.client.converse(**self.options(model, **more))
        blocks = answer["output"]["message"]["content"]
        thoughts = [
            block["reasoningContent"]["reasoningText"]["text"] for block in blocks if "reasoningContent" in block
        ]
        text = "".join(block["text"] for block in blocks if "text" in block)
        usage = answer["usage"]
        cached = usage.get("cacheReadInputTokens")
        return Read(text, answer["stopReason"], usage["outputTokens"], "".join(thoughts), cached)

    def events(self, model, **more):
        return self.client.converse_stream(**self.options(model, **more))["stream"]

    def stream(self, model, **more):
        read = Read("", None, None)
        for event in self.events(model, **more):
            delta = event.get("contentBlockDelta", {}).get("delta", {})
            read.text += delta.get("text", "")
            read.thought += delta.get("reasoningContent", {}).get("text", "")
            read.stop = event.get("messageStop", {}).get("stopReason", read.stop)
            read.tokens = event.get("metadata", {}).get("usage", {}).get("outputTokens", read.tokens)
        return read

    def tool(self, model, **more):
        question = [{"text": QUESTION}]
        answer = self.client.converse(**self.options(model, question, toolConfig=self.tools, **more))
        said = answer["output"]["message"]
        [call, *_] = calls = [block["toolUse"] for block in said["content"] if "toolUse" in block]
        results = [{"toolResult": {"toolUseId": call["toolUseId"], "content": [{"text": RESULT}]}} for call in calls]
        turns = [{"role": "user", "content": question}, said, {"role": "user", "content": results}]
        after = self.text(model, messages=turns, toolConfig=self.tools, **more).text
        return Called(call["name"], call["input"], answer["stopReason"], len(calls), after)

    def thinking_tool(self, model):
        return self.tool(model, additionalModelRequestFields=self.thoughts)

    def tool_stream(self, model):
        names, arguments, stop = {}, defaultdict(str), None
        for event in self.events(model, content=[{"text": QUESTION}], toolConfig=self.tools):
            for kind, value in event.items():
                at = value.get("contentBlockIndex")
                if kind == "contentBlockStart" and "toolUse" in value["start"]:
                    names[at] = value["start"]["toolUse"]["name"]
                if kind == "contentBlockDelta" and "toolUse" in value["delta"]:
                    arguments[at] += value["delta"]["toolUse"]["input"]
                stop = value.get("stopReason", stop)
        assert names.keys() == arguments.keys() and len(set(arguments.values())) == 1, (names, arguments)
        first = min(names)
        return Called(names[first], json.loads(arguments[first]), stop, len(names))

    def image(self, model, _data_url):
        return self.text(model, content=[{"image": {"format": "png", "source": {"bytes": PICTURE}}}, {"text": "what?"}])

    def schema(self, model):
        form = {"jsonSchema": {"name": "stay", "schema": json.dumps(SCHEMA)}}
        return self.text(model, outputConfig={"textFormat": {"type": "json_schema", "structure": form}})

    thoughts = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    own = {
        "guardrailConfig": {"guardrailConfig": {"guardrailIdentifier": "abcd", "guardrailVersion": "1"}},
        "top_k": {"additionalModelRequestFields": {"top_k": 5}},
        "requestMetadata": {"requestMetadata": {"team": "vine"}},
        "system": {"system": [{"text": "Be brief."}]},
    }

    def thinking(self, model):
        return self.text(model, additionalModelRequestFields=self.thoughts)

    def thinking_stream(self, model):
        return self.stream(model, additionalModelRequestFields=self.thoughts)

    def cache(self, model):
        return self.text(model, content=[{"text": PROMPT}, {"cachePoint": {"type": "default"}}])


class GoogleGenAiBeta(GoogleGenAi):
    """The same API by another address than the SDK's default."""

    name = "google-genai v1beta (Python)"
    own = {}

    def __init__(self, root):
        super().__init__(root, "v1beta")


ALL = [
    OpenAiChat,
    OpenAiResponses,
    AzureChat,
    AnthropicMessages,
    AnthropicBedrock,
    AnthropicVertex,
    GoogleGenAi,
    GoogleGenAiBeta,
    AmazonConverse,
]


def with_two_tools(sdk):
    """The same SDK with a second tool to offer."""
    if isinstance(sdk, GoogleGenAi):
        tools = sdk.two_tools
    else:
        tools = json.loads(json.dumps(sdk.tools).replace(f'"{TOOL}"', f'"{OTHER_TOOL}"'))
        tools = {"tools": sdk.tools["tools"] + tools["tools"]} if isinstance(tools, dict) else sdk.tools + tools
    doubled = copy.copy(sdk)
    doubled.tools = tools
    return doubled
