"""Processes that a run starts: each in a group of its own, with a log, and ended with the run whatever happens."""

import ctypes
import http.client
import itertools
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PR_SET_PDEATHSIG = 1
PORTS = range(10_000, 30_000)
# How long a process may take to end by itself.
END_DEADLINE = 10

_libc = ctypes.CDLL(None)
# Runs side by side begin at different ports.
_ports = itertools.islice(itertools.cycle(PORTS), os.getpid() % 199 * 100, None)


class Failure(Exception):
    """What ends a run, as it is printed."""


def free_port():
    """A port of loopback that is free for TCP and UDP, and was not given out before.

    Below the range from which the system takes ports of clients, so that none of them can have taken it meanwhile.
    """
    for port in _ports:
        try:
            with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
                return port
        except OSError:
            continue
    raise Failure(f"no port of {PORTS} is free")


def await_port(port, deadline=10):
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise Failure(f"nothing listens on port {port} after {deadline} s")


def raise_descriptor_limit(wanted=65_536):
    """Raises the limit of open files as far as it may be, and returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in ((max(wanted, soft), max(wanted, hard)), (hard, hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            return limit[0]
        except (ValueError, OSError):
            continue
    return soft


def _before_exec():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Processes:
    """A context: its end ends whatever was started in it."""

    def __init__(self, directory):
        self.directory, self.running = Path(directory), []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop(self.running[:])

    def start(self, name, command, environment=None, **options):
        """Starts a command with its output in the log NAME.log."""
        log = open(self.directory / f"{name}.log", "ab")
        options = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log} | options
        process = subprocess.Popen(
            [str(word) for word in command], cwd=self.directory, env=dict(os.environ) | (environment or {}),
            start_new_session=True, preexec_fn=_before_exec, **options)
        log.close()
        process.log = self.directory / f"{name}.log"
        self.running.append(process)
        return process

    def stop(self, processes):
        for process in processes:
            _signal(process, signal.SIGTERM)
        for process in processes:
            try:
                process.wait(END_DEADLINE)
            except subprocess.TimeoutExpired:
                pass
            # Children that outlived their parent are in its group.
            _signal(process, signal.SIGKILL)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()
            if process in self.running:
                self.running.remove(process)


def _signal(process, number):
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


def end_of_log(process, lines=15):
    text = process.log.read_text(errors="replace").splitlines()
    return "\n".join(text[-lines:])


def await_answer(port, processes, headers, deadline):
    """Sends the small request until it is answered with 200; returns at which time that was."""
    body = json.dumps({"model": "bench-json", "messages": [{"role": "user", "content": "Hello"}]})
    headers = {"content-type": "application/json"} | dict(header.split(": ", 1) for header in headers)
    end, last = time.monotonic() + deadline, "no answer"
    while time.monotonic() < end:
        for process in processes:
            if process.poll() is not None:
                log = end_of_log(process)
                last = (log.splitlines() or ["without a word"])[-1]
                raise Failure(f"{Path(process.args[0]).name} ended with {process.returncode}: {last}\n{log}")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=max(0.1, end - time.monotonic()))
            connection.request("POST", "/v1/chat/completions", body, headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            if answer.status == 200:
                return time.monotonic()
            last = f"{answer.status} {content[:200]!r}"
        except (OSError, http.client.HTTPException) as error:
            last = repr(error)
        time.sleep(0.001)
    logs = "\n".join(end_of_log(process) for process in processes)
    raise Failure(f"port {port} does not answer after {deadline} s: {last}\n{logs}")


def end_by_signal(_number, _frame):
    """A handler by which a signal unwinds the run, so that every context ends."""
    raise KeyboardInterrupt


def warn(text):
    print(f"tests/bench/run: {text}", file=sys.stderr, flush=True)
