#!/usr/bin/env python3
"""CPU per request of grapevine beside nginx, on one machine, in one run.

    cargo build --release && python3 tests/bench/cost.py [--rounds 5] [--seconds 4] [--clients 32]

Both proxies run in front of the same mock upstream with keep-alive on both sides. Rounds are
interleaved, and each proxy's own processes are charged for the user and system time they used, so
that the noise of a shared machine falls on both. Needs nginx and wrk (Debian packages).
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def await_port(port, deadline=10):
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    sys.exit(f"nothing listens on port {port} after {deadline} s")


def processes(pid):
    """The process and its children, which for both proxies is all of them."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        children = (task / "children").read_text().split()
        for child in children:
            found += processes(int(child))
    return found


def cpu_seconds(pid):
    total = 0
    for process in processes(pid):
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def start_mock(binary, port, directory):
    return subprocess.Popen(
        [binary, "mock", "--listen", f"127.0.0.1:{port}", "--name", "bench", "--body-bytes", "1024"],
        stdout=subprocess.DEVNULL, stderr=open(directory / "mock.log", "w"))


def start_nginx(upstream, port, directory):
    config = directory / "nginx.conf"
    config.write_text(f"""
daemon off; worker_processes 2; pid {directory}/nginx.pid; error_log {directory}/nginx.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  keepalive_requests 10000000; client_body_buffer_size 64k;
  upstream mock {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 10000000; }}
  server {{ listen 127.0.0.1:{port}; location / {{
    proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
}}""")
    return subprocess.Popen(["nginx", "-c", str(config), "-p", str(directory)],
                            stderr=open(directory / "nginx.err", "w"))


def start_grapevine(binary, upstream, port, directory):
    config = directory / "grapevine.yaml"
    config.write_text(f"""
node: {{name: bench, region: bench}}
listen: 127.0.0.1:{port}
admin: {{listen: "127.0.0.1:{free_port()}"}}
upstreams:
  - {{name: mock, base_url: "http://127.0.0.1:{upstream}/v1", models: [gpt-4o], max_in_flight: 4096}}
""")
    return subprocess.Popen([binary, "node", "-c", str(config)],
                            stdout=subprocess.DEVNULL, stderr=open(directory / "node.log", "w"))


def load(port, clients, seconds, script):
    """Requests answered and the median and 99th percentile of their latency in microseconds."""
    out = subprocess.run(
        ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "-s", str(script),
         f"http://127.0.0.1:{port}/v1/chat/completions"], capture_output=True, text=True, check=True).stdout
    result = json.loads(re.search(r"RESULT (\{.*\})", out).group(1))
    if result["errors"]:
        sys.exit(f"the load saw {result['errors']} errors on port {port}:\n{out}")
    return result


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=4)
    options.add_argument("--clients", type=int, default=32)
    options.add_argument("--binary", default=str(ROOT / "target/release/grapevine"))
    given = options.parse_args()
    for tool in ("nginx", "wrk"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing: apt-get install {tool}")
    if not Path(given.binary).exists():
        sys.exit(f"{given.binary} is missing: cargo build --release")

    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "x" * 940}]})
        script = directory / "post.lua"
        script.write_text(f"""
wrk.method = "POST"; wrk.headers["Content-Type"] = "application/json"; wrk.body = [[{body}]]
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('RESULT {{"requests": %d, "errors": %d, "p50": %d, "p99": %d}}\\n', summary.requests,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end""")
        mock_port = free_port()
        started = [start_mock(given.binary, mock_port, directory)]
        try:
            await_port(mock_port)
            rivals = {}
            for rival, start in (("nginx", start_nginx), ("grapevine", None)):
                port = free_port()
                process = (start(mock_port, port, directory) if start
                           else start_grapevine(given.binary, mock_port, port, directory))
                started.append(process)
                await_port(port)
                rivals[rival] = (process.pid, port, [])
            for rival, (pid, port, _) in rivals.items():
                load(port, given.clients, 1, script)
            for _ in range(given.rounds):
                for rival, (pid, port, figures) in rivals.items():
                    before = cpu_seconds(pid)
                    result = load(port, given.clients, given.seconds, script)
                    used = cpu_seconds(pid) - before
                    figures.append((used * 1e6 / result["requests"], result["requests"] / given.seconds,
                                    result["p50"], result["p99"]))
        finally:
            for process in started:
                process.send_signal(signal.SIGTERM)
            for process in started:
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()

    print(f"{'proxy':<12}{'CPU us/request':>16}{'requests/s':>12}{'p50 us':>9}{'p99 us':>9}")
    medians = {}
    for rival, (_, _, figures) in rivals.items():
        columns = [statistics.median(column) for column in zip(*figures)]
        medians[rival] = columns[0]
        print(f"{rival:<12}{columns[0]:>16.1f}{columns[1]:>12.0f}{columns[2]:>9.0f}{columns[3]:>9.0f}")
    print(f"ratio of CPU per request, grapevine to nginx: {medians['grapevine'] / medians['nginx']:.2f}")


if __name__ == "__main__":
    main()
