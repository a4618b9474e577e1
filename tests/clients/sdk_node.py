"""The official SDKs for Node as the operations of sdk_python.py: each is one line to sdk_node.mjs and one from it."""

import json
import subprocess
from pathlib import Path

import sdk_python


class NodeError(Exception):
    """What an SDK threw. `kind` is the name of its class."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


class NodeProcess:
    """Node with the SDKs, for as long as its input is open."""

    def __init__(self, root):
        terms = {
            "key": sdk_python.KEY,
            "prompt": sdk_python.PROMPT,
            "question": sdk_python.QUESTION,
            "result": sdk_python.RESULT,
            "tool": sdk_python.TOOL,
            "schema": sdk_python.SCHEMA,
            "tokens": sdk_python.TOKENS,
        }
        script = Path(__file__).with_suffix(".mjs")
        self.process = subprocess.Popen(
            ["node", script, root, json.dumps(terms)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def call(self, sdk, operation, *parameters):
        request = {"sdk": sdk, "operation": operation, "parameters": parameters}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise NodeError(answer["error"], answer["message"])
        return answer["value"]


class NodeSdk:
    """One API of one SDK. Its classes of errors have the names of its sibling for Python, `twin`."""

    broken = NodeError

    def __init__(self, process, twin, client):
        self.process = process
        self.client = client
        self.api = twin.api
        self.name = twin.name.replace("Python", "Node")
        self.STOPS = twin.STOPS
        self.errors = {status: kind.__name__ for status, kind in twin.errors.items()}
        if hasattr(twin, "cache"):
            self.cache = lambda model: self.read("cache", model)
        if hasattr(twin, "count"):
            self.count = lambda model: self.process.call(self.client, "count", model)

    def read(self, operation, *parameters):
        value = self.process.call(self.client, operation, *parameters)
        return sdk_python.Read(**value)

    def called(self, operation, model):
        return sdk_python.Called(**self.process.call(self.client, operation, model))

    def text(self, model):
        return self.read("text", model)

    def stream(self, model):
        return self.read("stream", model)

    def tool(self, model):
        return self.called("tool", model)

    def tool_stream(self, model):
        return self.called("tool_stream", model)

    def image(self, model, data_url):
        return self.read("image", model, data_url)

    def schema(self, model):
        return self.read("schema", model)

    def thinking(self, model):
        return self.read("thinking", model)

    def thinking_stream(self, model):
        return self.read("thinking_stream", model)


# The clients of sdk_node.mjs, and their siblings.
CLIENTS = {
    "chat": sdk_python.OpenAiChat,
    "responses": sdk_python.OpenAiResponses,
    "messages": sdk_python.AnthropicMessages,
    "bedrock": sdk_python.AnthropicBedrock,
    "vertex": sdk_python.AnthropicVertex,
}


def all_of(root):
    process = NodeProcess(root)
    return [NodeSdk(process, twin, client) for client, twin in CLIENTS.items()]
