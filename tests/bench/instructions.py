#!/usr/bin/env python3
"""Instructions of a node per request and per event of a stream, by itself and over a hop, counted by callgrind.

    cargo build --release && python3 tests/bench/instructions.py [--binary A --binary B] [--requests 1000]

A count hardly depends on what else the machine does: this is the figure to compare two builds by. Each binary runs as
one node before the mock upstream, then as two nodes in a row, each with one worker; what they executed between two
dumps is divided by the requests sent between them, over one connection, one after the other. What they execute without
requests (probes, gossip, timers) goes by time, and is taken off. Needs valgrind (a Debian package).
"""

import argparse
import http.client
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from compare.hops import grapevine_meshes
from compare.processes import ROOT, Failure, await_port, free_port

# A node under callgrind takes tens of seconds to start, and two longer to find each other.
START_DEADLINE = 180

# How long nodes are watched without requests.
IDLE = 5

MODEL = "gpt-4o"


class Node:
    """A node under callgrind."""

    def __init__(self, binary, directory, name, config):
        self.directory, self.name, self.dumps = directory, name, 0
        path = directory / f"{name}.yaml"
        path.write_text(json.dumps(config))
        self.process = subprocess.Popen(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={directory}/{name}.out", binary, "node", "-c", path],
            stdout=subprocess.DEVNULL, stderr=open(directory / f"{name}.log", "w"))

    def take(self):
        """What was executed since it was asked last."""
        self.dumps += 1
        subprocess.run(["callgrind_control", f"--dump=n{self.dumps}", str(self.process.pid)],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        dump = self.directory / f"{self.name}.out.{self.dumps}"
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if dump.exists() and (total := re.search(r"^(?:totals|summary): (\d+)", dump.read_text(), re.M)):
                return int(total.group(1))
            time.sleep(0.1)
        raise Failure(f"no dump came to {dump}")


def start_node(binary, directory, name, port, sections):
    written = {"node": {"name": name, "region": name}, "listen": f"127.0.0.1:{port}", "workers": 1,
               "admin": {"listen": f"127.0.0.1:{free_port()}"}}
    return Node(binary, directory, name, written | sections)


def upstreams(port):
    return {"upstreams": [{"name": "mock", "base_url": f"http://127.0.0.1:{port}/v1", "models": [MODEL],
                           "max_in_flight": 4096}]}


def alone(binary, directory, port, upstream):
    return [start_node(binary, directory, "alone", port, upstreams(upstream))]


def over_a_hop(binary, directory, port, upstream):
    of_entry, of_owner = grapevine_meshes(binary, directory)
    return [start_node(binary, directory, "owner", free_port(), upstreams(upstream) | of_owner),
            start_node(binary, directory, "entry", port, of_entry)]


@contextmanager
def running(binary, directory, start, port):
    """The nodes that `start` starts before a mock, once they answer on `port`."""
    upstream = free_port()
    mock = subprocess.Popen(
        [binary, "mock", "--listen", f"127.0.0.1:{upstream}", "--name", "bench", "--body-bytes", "1024"],
        stdout=subprocess.DEVNULL, stderr=open(directory / "mock.log", "w"))
    processes = [mock]
    try:
        await_port(upstream)
        nodes = start(binary, directory, port, upstream)
        processes += [node.process for node in nodes]
        await_answer(port)
        yield nodes
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def bodies():
    message = {"model": MODEL, "messages": [{"role": "user", "content": "x" * 940}]}
    return json.dumps(message), json.dumps(message | {"stream": True})


def ask(connection, body):
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, answer.read()


def await_answer(port):
    end, last = time.monotonic() + START_DEADLINE, "no answer"
    while time.monotonic() < end:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            status, content = ask(connection, bodies()[0])
            if status == 200:
                return
            last = content[:200]
        except OSError as error:
            last = error
        time.sleep(0.1)
    raise Failure(f"the node on port {port} is not ready after {START_DEADLINE} s: {last}")


def send(connection, body, times):
    for _ in range(times):
        status, content = ask(connection, body)
        if status != 200:
            raise Failure(f"the node answered {status}: {content[:200]}")
    return content


def measure(binary, start, requests, rounds=1):
    """Instructions per request and per event, each the least of the rounds: what else was done only adds.

    A round with a failed request is none: under callgrind a node may be too slow for its peer.
    """
    with tempfile.TemporaryDirectory() as name:
        port = free_port()
        with running(binary, Path(name), start, port) as nodes:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            whole, stream = bodies()
            send(connection, whole, requests // 10)
            send(connection, stream, requests // 10)
            take(nodes)
            time.sleep(IDLE)
            idle = take(nodes) / IDLE

            def count(body):
                counts = []
                for _ in range(rounds):
                    took = -time.monotonic()
                    try:
                        send(connection, body, requests)
                    except Failure as failure:
                        failed = failure
                        take(nodes)
                        continue
                    took += time.monotonic()
                    counts.append((take(nodes) - idle * took) / requests)
                if not counts:
                    raise failed
                return min(counts)

            per_request = count(whole)
            events = send(connection, stream, 1).count(b"data: ")
            take(nodes)
            return per_request, (count(stream) - per_request) / events


def take(nodes):
    return sum(node.take() for node in nodes)


def check_tools():
    for tool in ("valgrind", "callgrind_control"):
        if not shutil.which(tool):
            raise Failure(f"{tool} is missing: apt-get install valgrind")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--binary", action="append", help="a build to measure; may be repeated")
    options.add_argument("--requests", type=int, default=1000)
    given = options.parse_args()
    check_tools()
    if given.requests < 10:
        raise Failure("--requests: at least 10")
    binaries = given.binary or [str(ROOT / "target/release/grapevine")]
    for binary in binaries:
        if not Path(binary).exists():
            raise Failure(f"{binary} is missing: cargo build --release")
    print(f"{'per request':>15}{'per event':>12}{'over a hop':>12}{'per event':>12}  binary")
    for binary in binaries:
        figures = [*measure(binary, alone, given.requests), *measure(binary, over_a_hop, given.requests)]
        print(" " * 3 + "".join(f"{figure:>12,.0f}" for figure in figures) + f"  {binary}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"instructions: {failure}")
