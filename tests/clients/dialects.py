"""Five dialects as an upstream reads and writes them. A reader takes what its API documents and refuses the rest."""

import base64
import binascii
import json
import struct
from dataclasses import dataclass, field
from itertools import count

USAGE_IN, USAGE_OUT, USAGE_CACHED = 11, 7, 5

# What proves a thought to its maker, and what Google takes for a thought that another made.
SIGNATURE = "c2lnbmVkPj8/"
NO_SIGNATURE = "skip_thought_signature_validator".replace("_", "/")
THOUGHT = "A vine climbs what it finds."


class Refused(Exception):
    pass


@dataclass
class Seen:
    """What a request asks for."""

    model: str
    prompt: str = ""
    stream: bool = False
    counts: bool = False
    tools: list = field(default_factory=list)
    result: str | None = None
    image: tuple | None = None
    schema: bool = False
    thinks: bool = False
    caches: int = 0
    seals: bool = False
    summarizes: bool = True
    usage: bool = True


def keys(value, *known, where):
    unknown = set(value) - set(known)
    if unknown:
        raise Refused(f"{where}: unknown {sorted(unknown)}")
    return value


def must(condition, reason):
    if not condition:
        raise Refused(reason)


def picture(media, data):
    return media, len(base64.b64decode(data, validate=True))


def from_url(url):
    head, _, data = url.partition(";base64,")
    must(head.startswith("data:"), "the picture is no data URL")
    return picture(head[5:], data)


# What holds a value of the client's own, whose names are not the API's.
OPAQUE = {"args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema"}


def camel(value):
    """Names as Google's reference spells them: its JSON takes `mime_type` for `mimeType` too."""
    if isinstance(value, list):
        return [camel(one) for one in value]
    if not isinstance(value, dict):
        return value
    spelled = {}
    for key, one in value.items():
        head, *rest = key.split("_")
        key = head + "".join(word.capitalize() for word in rest)
        spelled[key] = one if key in OPAQUE else camel(one)
    return spelled


def words(text):
    """Pieces of a text, as a stream holds them."""
    pieces = text.split(" ")
    return [piece if index == 0 else " " + piece for index, piece in enumerate(pieces)]


def halves(text):
    return [text[: len(text) // 2], text[len(text) // 2 :]]


class ServerSentEvents:
    STREAM = "text/event-stream"

    @staticmethod
    def framed(event):
        name = f"event: {event['type']}\n" if "type" in event else ""
        data = event if isinstance(event, str) else json.dumps(event)
        return f"{name}data: {data}\n\n".encode()


class Chat(ServerSentEvents):
    @staticmethod
    def framed(event):
        data = event if isinstance(event, str) else json.dumps(event)
        return f"data: {data}\n\n".encode()

    @staticmethod
    def read(path, body):
        must(path == "v1/chat/completions", f"no path {path}")
        keys(
            body,
            "model",
            "messages",
            "stream",
            "stream_options",
            "tools",
            "tool_choice",
            "max_tokens",
            "max_completion_tokens",
            "response_format",
            "reasoning_effort",
            "temperature",
            "parallel_tool_calls",
            "n",
            "logprobs",
            "logit_bias",
            "seed",
            "presence_penalty",
            "stop",
            "user",
            "metadata",
            "safety_identifier",
            where="request",
        )
        seen = Seen(body["model"], stream=body.get("stream", False), thinks="reasoning_effort" in body)
        seen.usage = not seen.stream or body.get("stream_options", {}).get("include_usage", False)
        for tool in body.get("tools", []):
            must(tool["type"] == "function", "a tool is no function")
            keys(tool["function"], "name", "description", "parameters", "strict", where="function")
            seen.tools.append(tool["function"]["name"])
        if "response_format" in body:
            must(body["response_format"]["type"] == "json_schema", "response_format")
            must(body["response_format"]["json_schema"]["schema"]["type"] == "object", "the schema is no object")
            must(body["response_format"]["json_schema"]["name"], "the schema has no name")
            seen.schema = True
        open_calls = set()
        for message in body["messages"]:
            keys(message, "role", "content", "tool_calls", "tool_call_id", "reasoning_content", where="message")
            must(message["role"] in ("system", "developer", "user", "assistant", "tool"), "role")
            parts = message.get("content") or []
            parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
            text = "".join(part["text"] for part in parts if part["type"] == "text")
            for part in parts:
                if part["type"] == "image_url":
                    seen.image = from_url(part["image_url"]["url"])
                else:
                    must(part["type"] == "text", f"a part is {part['type']}")
            for call in message.get("tool_calls") or []:
                must(call["type"] == "function" and isinstance(json.loads(call["function"]["arguments"]), dict), "call")
                open_calls.add(call["id"])
            if message["role"] == "user":
                seen.prompt = text
            if message["role"] == "tool":
                must(message["tool_call_id"] in open_calls, f"{message['tool_call_id']} was not called")
                open_calls.discard(message["tool_call_id"])
                seen.result = text
        must(not open_calls, f"calls without results: {open_calls}")
        return seen

    @staticmethod
    def stop(parts):
        return "tool_calls" if parts[-1][0] == "call" else "stop"

    @staticmethod
    def usage():
        return {
            "prompt_tokens": USAGE_IN,
            "completion_tokens": USAGE_OUT,
            "total_tokens": USAGE_IN + USAGE_OUT,
            "prompt_tokens_details": {"cached_tokens": USAGE_CACHED},
        }

    @classmethod
    def answer(cls, seen, parts):
        message = {"role": "assistant", "content": None}
        for kind, *part in parts:
            if kind == "text":
                message["content"] = part[0]
            elif kind == "thought":
                message["reasoning_content"] = part[0]
            else:
                function = {"name": part[1], "arguments": json.dumps(part[2])}
                message.setdefault("tool_calls", []).append({"id": part[0], "type": "function", "function": function})
        choice = {"index": 0, "message": message, "finish_reason": cls.stop(parts), "logprobs": None}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": seen.model,
            "choices": [choice],
            "usage": cls.usage(),
        }

    @classmethod
    def events(cls, seen, parts):
        def chunk(delta, stop=None):
            choices = [{"index": 0, "delta": delta, "finish_reason": stop}]
            return {
                "id": "chatcmpl-1",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": seen.model,
                "choices": choices,
            }

        yield chunk({"role": "assistant", "content": ""})
        indices = count()
        for kind, *part in parts:
            if kind == "text":
                for word in words(part[0]):
                    yield chunk({"content": word})
            elif kind == "thought":
                for word in words(part[0]):
                    yield chunk({"reasoning_content": word})
            else:
                at = {"index": next(indices)}
                head = {**at, "id": part[0], "type": "function", "function": {"name": part[1], "arguments": ""}}
                yield chunk({"tool_calls": [head]})
                for half in halves(json.dumps(part[2])):
                    yield chunk({"tool_calls": [{**at, "function": {"arguments": half}}]})
        yield chunk({}, cls.stop(parts))
        if seen.usage:
            yield chunk({}) | {"choices": [], "usage": cls.usage()}
        yield "[DONE]"

    @staticmethod
    def error(status, message):
        kind = "rate_limit_error" if status == 429 else "invalid_request_error"
        return {"error": {"message": message, "type": kind, "param": None, "code": None}}


class Responses(ServerSentEvents):
    @staticmethod
    def read(path, body):
        must(path == "v1/responses", f"no path {path}")
        keys(
            body,
            "model",
            "input",
            "instructions",
            "stream",
            "tools",
            "tool_choice",
            "max_output_tokens",
            "text",
            "reasoning",
            "store",
            "include",
            "temperature",
            "parallel_tool_calls",
            "previous_response_id",
            "background",
            "truncation",
            "user",
            "metadata",
            "safety_identifier",
            "top_logprobs",
            where="request",
        )
        seen = Seen(body["model"], stream=body.get("stream", False), thinks="effort" in body.get("reasoning", {}))
        seen.seals = "reasoning.encrypted_content" in body.get("include", [])
        seen.summarizes = "summary" in body.get("reasoning", {})
        for tool in body.get("tools", []):
            must(tool["type"] == "function", "a tool is no function")
            keys(tool, "type", "name", "description", "parameters", "strict", where="tool")
            seen.tools.append(tool["name"])
        if "format" in body.get("text", {}):
            must(body["text"]["format"]["type"] == "json_schema" and body["text"]["format"]["name"], "text.format")
            seen.schema = True
        items = body["input"]
        items = [{"role": "user", "content": items}] if isinstance(items, str) else items
        open_calls = set()
        for item in items:
            kind = item.get("type", "message")
            if kind == "message":
                keys(item, "type", "role", "content", "id", "status", "phase", where="message")
                parts = item["content"]
                is_user = item["role"] == "user"
                parts = [{"type": "input_text", "text": parts}] if isinstance(parts, str) else parts
                for part in parts:
                    if part["type"] == "input_image":
                        seen.image = from_url(part["image_url"])
                    else:
                        must(part["type"] in ("input_text", "output_text"), f"a part is {part['type']}")
                if is_user:
                    seen.prompt = "".join(part.get("text", "") for part in parts)
            elif kind == "function_call":
                keys(item, "type", "id", "call_id", "name", "arguments", "status", where="function_call")
                must(isinstance(json.loads(item["arguments"]), dict), "arguments")
                open_calls.add(item["call_id"])
            elif kind == "function_call_output":
                keys(item, "type", "id", "call_id", "output", "status", where="function_call_output")
                must(item["call_id"] in open_calls, f"{item['call_id']} was not called")
                open_calls.discard(item["call_id"])
                output = item["output"]
                seen.result = output if isinstance(output, str) else "".join(part["text"] for part in output)
            else:
                must(kind == "reasoning", f"an item is {kind}")
                is_known = body.get("store", True) and item.get("id", "").startswith("rs_")
                must(is_known or item.get("encrypted_content") == SIGNATURE, "a thought of somebody else")
        must(not open_calls, f"calls without results: {open_calls}")
        return seen

    @staticmethod
    def item(seen, index, part):
        kind, *part = part
        if kind == "text":
            content = [{"type": "output_text", "text": part[0], "annotations": [], "logprobs": []}]
            return {
                "id": f"msg_{index}",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": content,
            }
        if kind == "thought":
            summary = [{"type": "summary_text", "text": part[0]}] if seen.summarizes else []
            sealed = {"encrypted_content": SIGNATURE} if seen.seals else {}
            return {"id": f"rs_{index}", "type": "reasoning", "summary": summary, **sealed}
        return {
            "id": f"fc_{index}",
            "type": "function_call",
            "call_id": part[0],
            "name": part[1],
            "arguments": json.dumps(part[2]),
            "status": "completed",
        }

    @staticmethod
    def response(seen, items, status):
        usage = {
            "input_tokens": USAGE_IN,
            "input_tokens_details": {"cached_tokens": USAGE_CACHED},
            "output_tokens": USAGE_OUT,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": USAGE_IN + USAGE_OUT,
        }
        return {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "model": seen.model,
            "status": status,
            "output": items,
            "usage": usage if status == "completed" else None,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
        }

    @classmethod
    def answer(cls, seen, parts):
        return cls.response(seen, [cls.item(seen, index, part) for index, part in enumerate(parts)], "completed")

    @classmethod
    def events(cls, seen, parts):
        number = count()

        def event(kind, **more):
            return {"type": f"response.{kind}", "sequence_number": next(number), **more}

        yield event("created", response=cls.response(seen, [], "in_progress"))
        items = []
        for index, part in enumerate(parts):
            item = cls.item(seen, index, part)
            items.append(item)
            at = {"item_id": item["id"], "output_index": index}
            if part[0] == "text":
                yield event(
                    "output_item.added", output_index=index, item=item | {"content": [], "status": "in_progress"}
                )
                at["content_index"] = 0
                yield event("content_part.added", **at, part=item["content"][0] | {"text": ""})
                for word in words(part[1]):
                    yield event("output_text.delta", **at, delta=word, logprobs=[])
                yield event("output_text.done", **at, text=part[1], logprobs=[])
                yield event("content_part.done", **at, part=item["content"][0])
            elif part[0] == "thought":
                yield event("output_item.added", output_index=index, item=item | {"summary": []})
                at["summary_index"] = 0
                for summary in item["summary"]:
                    yield event("reasoning_summary_part.added", **at, part={"type": "summary_text", "text": ""})
                    for word in words(part[1]):
                        yield event("reasoning_summary_text.delta", **at, delta=word)
                    yield event("reasoning_summary_text.done", **at, text=part[1])
                    yield event("reasoning_summary_part.done", **at, part=summary)
            else:
                yield event(
                    "output_item.added", output_index=index, item=item | {"arguments": "", "status": "in_progress"}
                )
                for half in halves(item["arguments"]):
                    yield event("function_call_arguments.delta", **at, delta=half)
                yield event("function_call_arguments.done", **at, name=item["name"], arguments=item["arguments"])
            yield event("output_item.done", output_index=index, item=item)
        yield event("completed", response=cls.response(seen, items, "completed"))

    error = Chat.error


class Messages(ServerSentEvents):
    COUNT = "input_tokens"

    @staticmethod
    def read(path, body):
        counts = path == "v1/messages/count_tokens"
        must(counts or path == "v1/messages", f"no path {path}")
        keys(
            body,
            "model",
            "messages",
            "system",
            "max_tokens",
            "stream",
            "tools",
            "tool_choice",
            "thinking",
            "temperature",
            "output_config",
            "top_k",
            "stop_sequences",
            "metadata",
            where="request",
        )
        must(counts or isinstance(body["max_tokens"], int), "max_tokens")
        seen = Seen(body["model"], stream=body.get("stream", False), counts=counts)
        thinking = body.get("thinking", {"type": "disabled"})
        seen.thinks = thinking["type"] != "disabled"
        if thinking["type"] == "enabled":
            must(1024 <= thinking["budget_tokens"] < body["max_tokens"], "thinking.budget_tokens")
        for tool in body.get("tools", []):
            keys(tool, "name", "description", "input_schema", "type", "strict", "cache_control", where="tool")
            must(tool["input_schema"]["type"] == "object", "input_schema")
            seen.tools.append(tool["name"])
        seen.schema = "format" in body.get("output_config", {})
        system = body.get("system", [])
        blocks = [] if isinstance(system, str) else list(system)
        must(body["messages"][0]["role"] == "user", "the first turn is not the user's")
        open_calls = set()
        for message in body["messages"]:
            keys(message, "role", "content", where="message")
            must(message["role"] in ("user", "assistant"), "role")
            parts = message["content"]
            parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
            must(parts, "no content")
            blocks += parts
            for part in parts:
                kind = part["type"]
                if kind == "text":
                    must(part["text"], "an empty text")
                    if message["role"] == "user":
                        seen.prompt = part["text"]
                elif kind == "image":
                    must(part["source"]["type"] == "base64", "source")
                    seen.image = picture(part["source"]["media_type"], part["source"]["data"])
                elif kind == "tool_use":
                    must(message["role"] == "assistant" and isinstance(part["input"], dict), "tool_use")
                    must(not seen.thinks or parts[0]["type"] == "thinking", "a call without its thought")
                    open_calls.add(part["id"])
                elif kind == "tool_result":
                    must(message["role"] == "user" and part["tool_use_id"] in open_calls, "tool_result")
                    open_calls.discard(part["tool_use_id"])
                    content = part["content"]
                    seen.result = content if isinstance(content, str) else "".join(one["text"] for one in content)
                else:
                    must(kind == "thinking" and part["signature"] == SIGNATURE, f"a block is {kind}")
        must(not open_calls, f"calls without results: {open_calls}")
        seen.caches = sum("cache_control" in block for block in blocks + body.get("tools", []))
        must(seen.caches <= 4, "more than four cache marks")
        return seen

    @staticmethod
    def block(part):
        kind, *part = part
        if kind == "text":
            return {"type": "text", "text": part[0]}
        if kind == "thought":
            return {"type": "thinking", "thinking": part[0], "signature": SIGNATURE}
        return {"type": "tool_use", "id": part[0], "name": part[1], "input": part[2]}

    @classmethod
    def answer(cls, seen, parts):
        usage = {
            "input_tokens": USAGE_IN,
            "output_tokens": USAGE_OUT,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": USAGE_CACHED if seen.caches else 0,
        }
        stop = "tool_use" if parts[-1][0] == "call" else "end_turn"
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": seen.model,
            "content": [cls.block(part) for part in parts],
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": usage,
        }

    @classmethod
    def events(cls, seen, parts):
        whole = cls.answer(seen, parts)
        start = whole | {"content": [], "stop_reason": None, "usage": whole["usage"] | {"output_tokens": 1}}
        yield {"type": "message_start", "message": start}
        for index, part in enumerate(parts):
            empty = {"text": {"text": ""}, "thought": {"thinking": "", "signature": ""}, "call": {"input": {}}}[part[0]]
            yield {"type": "content_block_start", "index": index, "content_block": cls.block(part) | empty}
            if part[0] == "text":
                deltas = [{"type": "text_delta", "text": word} for word in words(part[1])]
            elif part[0] == "thought":
                deltas = [{"type": "thinking_delta", "thinking": word} for word in words(part[1])]
                deltas.append({"type": "signature_delta", "signature": SIGNATURE})
            else:
                pieces = halves(json.dumps(part[3]))
                deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
            for delta in deltas:
                yield {"type": "content_block_delta", "index": index, "delta": delta}
            yield {"type": "content_block_stop", "index": index}
        delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
        yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": USAGE_OUT}}
        yield {"type": "message_stop"}

    @staticmethod
    def error(status, message):
        kind = "rate_limit_error" if status == 429 else "invalid_request_error"
        return {"type": "error", "error": {"type": kind, "message": message}}


class Gemini(ServerSentEvents):
    COUNT = "totalTokens"

    @staticmethod
    def framed(event):
        return f"data: {json.dumps(event)}\r\n\r\n".encode()

    @staticmethod
    def read(path, body):
        body = camel(body)
        model, _, method = path.removeprefix("v1beta/models/").partition(":")
        must(method in ("generateContent", "streamGenerateContent", "countTokens"), f"no path {path}")
        keys(
            body,
            "contents",
            "systemInstruction",
            "tools",
            "toolConfig",
            "generationConfig",
            "safetySettings",
            where="request",
        )
        config = body.get("generationConfig", {})
        keys(
            config,
            "maxOutputTokens",
            "temperature",
            "topP",
            "topK",
            "responseMimeType",
            "responseSchema",
            "responseJsonSchema",
            "thinkingConfig",
            "candidateCount",
            "stopSequences",
            "seed",
            "presencePenalty",
            "responseLogprobs",
            where="generationConfig",
        )
        seen = Seen(model, stream=method.startswith("stream"), counts=method == "countTokens")
        seen.thinks = config.get("thinkingConfig", {}).get("includeThoughts", False)
        if "responseSchema" in config or "responseJsonSchema" in config:
            must(config["responseMimeType"] == "application/json", "responseMimeType")
            seen.schema = True
        for tool in body.get("tools", []):
            for function in keys(tool, "functionDeclarations", where="tool")["functionDeclarations"]:
                keys(function, "name", "description", "parameters", "parametersJsonSchema", where="function")
                seen.tools.append(function["name"])
        open_calls = []
        for content in body["contents"]:
            keys(content, "role", "parts", where="content")
            must(content.get("role", "user") in ("user", "model"), "role")
            must(content["parts"], "no parts")
            for part in content["parts"]:
                keys(
                    part,
                    "text",
                    "inlineData",
                    "functionCall",
                    "functionResponse",
                    "thought",
                    "thoughtSignature",
                    where="part",
                )
                if "text" in part and content.get("role", "user") == "user":
                    seen.prompt = part["text"]
                if "inlineData" in part:
                    # Google's JSON takes both alphabets of base64.
                    data = part["inlineData"]["data"].replace("-", "+").replace("_", "/")
                    seen.image = picture(part["inlineData"]["mimeType"], data)
                if "functionCall" in part:
                    must(isinstance(part["functionCall"].get("args", {}), dict), "args")
                    signature = part.get("thoughtSignature", "").replace("-", "+").replace("_", "/")
                    # Of several calls at once the first alone has one.
                    is_first = part is next(one for one in content["parts"] if "functionCall" in one)
                    is_proven = signature in (SIGNATURE, NO_SIGNATURE)
                    must(is_proven or not is_first, "a call without the signature of its thought")
                    open_calls.append(part["functionCall"]["name"])
                if "functionResponse" in part:
                    must(isinstance(part["functionResponse"]["response"], dict), "response")
                    open_calls.remove(part["functionResponse"]["name"])
                    seen.result = " ".join(map(str, part["functionResponse"]["response"].values()))
        must(not open_calls, f"calls without results: {open_calls}")
        return seen

    @staticmethod
    def candidate(seen, parts, stop):
        candidate = {"content": {"role": "model", "parts": parts}, "index": 0}
        if not stop:
            return {"candidates": [candidate], "modelVersion": seen.model, "responseId": "r1"}
        usage = {
            "promptTokenCount": USAGE_IN,
            "candidatesTokenCount": USAGE_OUT,
            "totalTokenCount": USAGE_IN + USAGE_OUT,
        }
        return {
            "candidates": [candidate | {"finishReason": "STOP"}],
            "usageMetadata": usage,
            "modelVersion": seen.model,
            "responseId": "r1",
        }

    @staticmethod
    def part(part, parts):
        kind, *inside = part
        if kind == "text":
            return {"text": inside[0]}
        if kind == "thought":
            return {"text": inside[0], "thought": True}
        is_first = part is next(one for one in parts if one[0] == "call")
        signature = {"thoughtSignature": SIGNATURE} if is_first else {}
        return {"functionCall": {"id": inside[0], "name": inside[1], "args": inside[2]}, **signature}

    @classmethod
    def answer(cls, seen, parts):
        return cls.candidate(seen, [cls.part(part, parts) for part in parts], True)

    @classmethod
    def events(cls, seen, parts):
        pieces = []
        for part in parts:
            pieces += [part] if part[0] == "call" else [(part[0], word) for word in words(part[1])]
        for index, piece in enumerate(pieces):
            yield cls.candidate(seen, [cls.part(piece, pieces)], index + 1 == len(pieces))

    @staticmethod
    def error(status, message):
        kind = "RESOURCE_EXHAUSTED" if status == 429 else "INVALID_ARGUMENT"
        return {"error": {"code": status, "message": message, "status": kind}}


class Converse:
    STREAM = "application/vnd.amazon.eventstream"

    @staticmethod
    def framed(event):
        """A message of Amazon's event stream: preamble, headers, payload, two checksums."""
        [(name, value)] = event.items()
        pairs = [(":event-type", name), (":content-type", "application/json"), (":message-type", "event")]
        headers = b"".join(
            struct.pack("!B", len(key)) + key.encode() + struct.pack("!BH", 7, len(text)) + text.encode()
            for key, text in pairs
        )
        payload = json.dumps(value).encode()
        prelude = struct.pack("!II", len(headers) + len(payload) + 16, len(headers))
        prelude += struct.pack("!I", binascii.crc32(prelude))
        message = prelude + headers + payload
        return message + struct.pack("!I", binascii.crc32(message))

    @staticmethod
    def read(path, body):
        model, _, method = path.removeprefix("model/").rpartition("/")
        must(method in ("converse", "converse-stream"), f"no path {path}")
        keys(
            body,
            "messages",
            "system",
            "toolConfig",
            "inferenceConfig",
            "additionalModelRequestFields",
            "outputConfig",
            "additionalModelResponseFieldPaths",
            "requestMetadata",
            "guardrailConfig",
            where="request",
        )
        keys(
            body.get("inferenceConfig", {}),
            "maxTokens",
            "temperature",
            "topP",
            "stopSequences",
            where="inferenceConfig",
        )
        seen = Seen(model, stream=method == "converse-stream")
        more = body.get("additionalModelRequestFields", {})
        thinking = more.get("thinking", {"type": "disabled"})
        seen.thinks = thinking["type"] != "disabled"
        if thinking["type"] == "enabled":
            must(1024 <= thinking["budget_tokens"] < body["inferenceConfig"]["maxTokens"], "thinking.budget_tokens")
        seen.schema = "textFormat" in body.get("outputConfig", {})
        blocks = list(body.get("system", []))
        for tool in body.get("toolConfig", {}).get("tools", []):
            blocks.append(tool)
            if "toolSpec" in tool:
                keys(tool["toolSpec"], "name", "description", "inputSchema", "strict", where="toolSpec")
                must(tool["toolSpec"]["inputSchema"]["json"]["type"] == "object", "inputSchema")
                seen.tools.append(tool["toolSpec"]["name"])
        must(body["messages"][0]["role"] == "user", "the first turn is not the user's")
        open_calls, role = set(), None
        for message in body["messages"]:
            keys(message, "role", "content", where="message")
            must(message["role"] != role, "two turns of one role")
            role = message["role"]
            must(message["content"], "no content")
            blocks += message["content"]
            for part in message["content"]:
                keys(part, "text", "image", "toolUse", "toolResult", "cachePoint", "reasoningContent", where="block")
                must(len(part) == 1, "a block has one member")
                if "text" in part:
                    must(part["text"], "an empty text")
                    seen.prompt = part["text"] if role == "user" else seen.prompt
                elif "image" in part:
                    seen.image = picture("image/" + part["image"]["format"], part["image"]["source"]["bytes"])
                elif "reasoningContent" in part:
                    thought = part["reasoningContent"]["reasoningText"]
                    must(thought["text"] == THOUGHT and thought["signature"] == SIGNATURE, "a thought of somebody else")
                elif "toolUse" in part:
                    must(not seen.thinks or "reasoningContent" in message["content"][0], "a call without its thought")
                    must(isinstance(part["toolUse"]["input"], dict), "input")
                    open_calls.add(part["toolUse"]["toolUseId"])
                elif "toolResult" in part:
                    must(seen.tools, "results without toolConfig")
                    open_calls.remove(part["toolResult"]["toolUseId"])
                    content = part["toolResult"]["content"]
                    seen.result = "".join(one["text"] if "text" in one else json.dumps(one["json"]) for one in content)
        must(not open_calls, f"calls without results: {open_calls}")
        seen.caches = sum("cachePoint" in block for block in blocks)
        return seen

    @staticmethod
    def block(part):
        kind, *part = part
        if kind == "text":
            return {"text": part[0]}
        if kind == "thought":
            return {"reasoningContent": {"reasoningText": {"text": part[0], "signature": SIGNATURE}}}
        return {"toolUse": {"toolUseId": part[0], "name": part[1], "input": part[2]}}

    @staticmethod
    def closing(seen, parts):
        usage = {"inputTokens": USAGE_IN, "outputTokens": USAGE_OUT, "totalTokens": USAGE_IN + USAGE_OUT}
        if seen.caches:
            usage |= {"cacheReadInputTokens": USAGE_CACHED, "cacheWriteInputTokens": 0}
        stop = "tool_use" if parts[-1][0] == "call" else "end_turn"
        return stop, {"usage": usage, "metrics": {"latencyMs": 1}}

    @classmethod
    def answer(cls, seen, parts):
        stop, more = cls.closing(seen, parts)
        message = {"role": "assistant", "content": [cls.block(part) for part in parts]}
        return {"output": {"message": message}, "stopReason": stop, **more}

    @classmethod
    def events(cls, seen, parts):
        yield {"messageStart": {"role": "assistant"}}
        for index, part in enumerate(parts):
            at = {"contentBlockIndex": index}
            if part[0] == "text":
                deltas = [{"text": word} for word in words(part[1])]
            elif part[0] == "thought":
                deltas = [{"reasoningContent": {"text": word}} for word in words(part[1])]
                deltas.append({"reasoningContent": {"signature": SIGNATURE}})
            else:
                start = {"toolUse": {"toolUseId": part[1], "name": part[2]}}
                yield {"contentBlockStart": {"start": start, **at}}
                deltas = [{"toolUse": {"input": half}} for half in halves(json.dumps(part[3]))]
            for delta in deltas:
                yield {"contentBlockDelta": {"delta": delta, **at}}
            yield {"contentBlockStop": at}
        stop, more = cls.closing(seen, parts)
        yield {"messageStop": {"stopReason": stop}}
        yield {"metadata": more}

    @staticmethod
    def error(_status, message):
        return {"message": message}


ALL = {
    "chat": Chat,
    "responses": Responses,
    "messages": Messages,
    "gemini": Gemini,
    "converse": Converse,
}
