#!/usr/bin/env python3
"""Instructions of a node per request and per event of a stream, counted by callgrind.

    cargo build --release && python3 tests/bench/instructions.py [--binary A --binary B] [--requests 1000]

A count does not depend on what else the machine does: this is the figure to compare two builds by. Each binary
runs as one node with one worker before the mock upstream; what it executed between two dumps is divided by the
requests sent between them, over one connection, one after the other. Work in the background (probes, timers)
is in it; more requests make its share smaller. Needs valgrind (a Debian package).
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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from compare.processes import ROOT, Failure, await_port, free_port

# A node under callgrind takes tens of seconds to start.
START_DEADLINE = 180


def start_mock(binary, port, directory):
    return subprocess.Popen(
        [binary, "mock", "--listen", f"127.0.0.1:{port}", "--name", "bench", "--body-bytes", "1024"],
        stdout=subprocess.DEVNULL, stderr=open(directory / "mock.log", "w"))


def start_node(binary, upstream, port, directory):
    config = directory / "grapevine.yaml"
    config.write_text(f"""
node: {{name: bench, region: bench}}
listen: 127.0.0.1:{port}
workers: 1
admin: {{listen: "127.0.0.1:{free_port()}"}}
upstreams:
  - {{name: mock, base_url: "http://127.0.0.1:{upstream}/v1", models: [gpt-4o], max_in_flight: 4096}}
""")
    return subprocess.Popen(
        ["valgrind", "--tool=callgrind", "--compress-strings=no", f"--callgrind-out-file={directory}/callgrind.out", binary, "node", "-c",
         str(config)], stdout=subprocess.DEVNULL, stderr=open(directory / "node.log", "w"))


def await_ready(port, deadline):
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    sys.exit(f"the node on port {port} is not ready after {deadline} s")


class Count:
    """Takes what was executed since it was asked last."""

    def __init__(self, process, directory):
        self.process, self.directory, self.dumps = process, directory, 0

    def take(self):
        self.dumps += 1
        subprocess.run(["callgrind_control", f"--dump=n{self.dumps}", str(self.process.pid)],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        dump = self.directory / f"callgrind.out.{self.dumps}"
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if dump.exists() and (total := re.search(r"^(?:totals|summary): (\d+)", dump.read_text(), re.M)):
                return int(total.group(1))
            time.sleep(0.1)
        sys.exit(f"no dump came to {dump}")


def send(connection, body, times):
    for _ in range(times):
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            sys.exit(f"the node answered {answer.status}: {content[:200]}")
    return content


def measure(binary, requests):
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        upstream, port = free_port(), free_port()
        mock = start_mock(binary, upstream, directory)
        node = None
        try:
            await_port(upstream)
            node = start_node(binary, upstream, port, directory)
            await_ready(port, START_DEADLINE)
            message = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x" * 940}]}
            whole, stream = json.dumps(message), json.dumps(message | {"stream": True})
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            send(connection, whole, requests // 10)
            count = Count(node, directory)
            count.take()
            send(connection, whole, requests)
            per_request = count.take() / requests
            events = send(connection, stream, requests // 10).count(b"data: ")
            count.take()
            send(connection, stream, requests)
            per_stream = count.take() / requests
            return per_request, per_stream, events
        finally:
            for process in filter(None, (node, mock)):
                process.send_signal(signal.SIGTERM)
            for process in filter(None, (node, mock)):
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--binary", action="append", help="a build to measure; may be repeated")
    options.add_argument("--requests", type=int, default=1000)
    given = options.parse_args()
    for tool in ("valgrind", "callgrind_control"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing: apt-get install valgrind")
    if given.requests < 10:
        sys.exit("--requests: at least 10")
    binaries = given.binary or [str(ROOT / "target/release/grapevine")]
    for binary in binaries:
        if not Path(binary).exists():
            sys.exit(f"{binary} is missing: cargo build --release")
    print(f"{'instructions per request':>25}{'per stream':>12}{'events':>8}{'per event':>11}  binary")
    for binary in binaries:
        whole, stream, events = measure(binary, given.requests)
        print(f"{whole:>25,.0f}{stream:>12,.0f}{events:>8}{(stream - whole) / events:>11,.0f}  {binary}")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"instructions: {failure}")
