"""Runs the functions of a script that are named as facts, and knows what a mock answers."""

import hashlib
import inspect
import sys
import time
import traceback

FILLER = "and the vine carries every word from root to leaf and back again".split()

# Headers that every answer of a node carries, errors included.
HEADERS = [
    "x-request-id",
    "x-grapevine-node",
    "x-grapevine-region",
    "x-grapevine-attempts",
    "x-grapevine-hops",
    "x-grapevine-overhead-ms",
    "x-grapevine-reason",
]

# Headers of an answer that an upstream gave.
UPSTREAM_HEADERS = [
    "x-grapevine-upstream",
    "x-grapevine-model",
    "x-grapevine-path",
    "x-grapevine-upstream-ms",
]


def answer_text(upstream, message, words=16):
    """The text that the mock called `upstream` answers to `message`."""
    digest = hashlib.sha256(message.encode()[:4096]).hexdigest()[:8]
    opening = ["Upstream", upstream, "heard", digest + ":"]
    text = opening + [word[:32] for word in message.split()[:6]]
    while len(text) < words:
        text += FILLER
    return " ".join(text[:words])


def check_headers(headers, answered=True):
    wanted = HEADERS + (UPSTREAM_HEADERS if answered else [])
    missing = [name for name in wanted if not headers.get(name)]
    assert not missing, f"missing headers {missing} in {dict(headers)}"


def until(condition, seconds=60):
    """Waits until `condition` holds, for at most so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {inspect.getsource(condition).strip()}"
        time.sleep(0.05)


def raises(kind, call):
    """Calls `call`, expects exactly an error of `kind`, and returns it."""
    try:
        result = call()
    except kind as error:
        assert type(error) is kind, f"{type(error).__name__} instead of {kind.__name__}: {error}"
        return error
    raise AssertionError(f"no {kind.__name__} but {result!r}")


def run(module):
    """Calls every function with a name that begins with `fact_`; the process fails when one of them does."""
    facts = [(name, call) for name, call in inspect.getmembers(module, inspect.isfunction) if name.startswith("fact_")]
    assert facts, "no fact to check"
    failed = 0
    for name, call in facts:
        start = time.monotonic()
        try:
            call()
            print(f"ok {name[5:]} ({time.monotonic() - start:.2f} s)")
        except Exception:
            failed += 1
            print(f"FAILED {name[5:]} ({time.monotonic() - start:.2f} s)\n{traceback.format_exc()}")
    print(f"{len(facts) - failed} facts hold, {failed} do not")
    sys.exit(1 if failed else 0)
