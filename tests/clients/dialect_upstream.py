"""A small upstream of five dialects, strict about what it takes: dialect_upstream.py PORT

Each dialect is served below /DIALECT. The request decides the answer: each tool that is offered is called, the last
result is repeated, a picture is described, a schema is filled in, and thought is shown where it was asked for. Faults
are turned on as at `grapevine mock`, by PATCH /DIALECT/mock/knobs.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dialects
from facts import answer_text

CALL_ID = "call_8f2c"
ARGUMENTS = {"city": "Paris", "days": 3}
KNOBS = {name: {} for name in dialects.ALL}


def reply(seen):
    """What is answered: parts in order."""
    if seen.result is not None:
        return [("text", f"The tool says {seen.result}")]
    thought = [("thought", dialects.THOUGHT)] if seen.thinks else []
    if seen.tools:
        return thought + [("call", f"{CALL_ID}{index}", tool, ARGUMENTS) for index, tool in enumerate(seen.tools)]
    if seen.schema:
        return [("text", json.dumps(ARGUMENTS))]
    if seen.image:
        return [("text", "A picture: {} of {} bytes".format(*seen.image))]
    return thought + [("text", answer_text(seen.model, seen.prompt))]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send_json(200, {"object": "list", "data": []})

    def do_PATCH(self):
        KNOBS[self.path.split("/")[1]].update(json.loads(self.body()))
        self.send_json(200, {})

    def do_POST(self):
        body = self.body()
        name, _, path = self.path.lstrip("/").partition("/")
        dialect, knobs = dialects.ALL[name], KNOBS[name]
        try:
            seen = dialect.read(path.partition("?")[0], json.loads(body))
        except (dialects.Refused, LookupError, AttributeError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            print(f"{self.path} refused: {reason}: {body.decode()}", flush=True)
            return self.send_json(400, dialect.error(400, f"strict upstream: {reason}"))
        print(f"{self.path} took {body.decode()}", flush=True)
        status = 429 if knobs.get("rate_limit") else knobs.get("error_rate") and knobs["error_status"]
        if status:
            return self.send_json(status, dialect.error(status, "injected by the upstream"))
        if seen.counts:
            return self.send_json(200, {dialect.COUNT: dialects.USAGE_IN})
        parts = reply(seen)
        if not seen.stream:
            return self.send_json(200, dialect.answer(seen, parts))
        return self.send_stream(dialect.STREAM, [dialect.framed(event) for event in dialect.events(seen, parts)], knobs)

    def body(self):
        return self.rfile.read(int(self.headers["content-length"]))

    def send_json(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        if status == 429:
            self.send_header("retry-after", "60")
        if status >= 400:
            self.send_header("x-amzn-errortype", "ThrottlingException" if status == 429 else "ValidationException")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_stream(self, content_type, chunks, knobs):
        is_cut = knobs.get("cut_after_chunks")
        chunks = chunks[: is_cut or knobs.get("clean_end_after_chunks")]
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            self.wfile.flush()
        if is_cut:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")


if __name__ == "__main__":
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
