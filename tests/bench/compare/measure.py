"""One measurement of one rival: a load, streams that are held open, or a start."""

import json
import select
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from compare import accounts
from compare.processes import Failure, Processes, await_answer, await_port, end_of_log, free_port
from compare.rivals import CORES, Place

# How much longer than it should a load may take: to open its connections, and to end.
GRACE = 150
# Requests that warm a rival up, over all connections.
WARM = 200
# How long memory may settle, after streams were opened or a node was started.
SETTLE = 2.0


@dataclass
class Load:
    """What the generator sends."""

    model: str
    connections: int
    body: int = 1024
    # Which API the client speaks; the upstream speaks chat completions.
    api: str = "chat"


@dataclass
class World:
    """What all measurements share."""

    processes: Processes
    directory: Path
    tools: Path
    seconds: float
    # Files that a process may have open.
    descriptors: int
    upstream: int = 0
    upstream_process: object = None
    others: list = field(default_factory=list)

    def start_upstream(self):
        self.upstream = free_port()
        self.upstream_process = self.processes.start(
            "upstream", [self.tools / "upstream", f"127.0.0.1:{self.upstream}"])
        await_port(self.upstream)


@dataclass
class Running:
    """A rival that answers."""

    rival: object
    port: int
    processes: list
    # Seconds from its start to its first answer.
    started_in: float

    @property
    def roots(self):
        return [process.pid for process in self.processes]


def start(world, rival, connections=4096):
    if rival.name == "direct":
        return Running(rival, world.upstream, [], 0.0)
    connections = min(connections, world.descriptors - 500)
    place = Place(world.processes, world.directory, free_port(), world.upstream, connections)
    begun = time.monotonic()
    processes = rival.launch(place)
    try:
        answered = await_answer(place.port, processes, rival.headers, rival.deadline)
    except Failure:
        world.processes.stop(processes)
        raise
    return Running(rival, place.port, processes, answered - begun)


class Generator:
    """A load that has opened its connections."""

    def __init__(self, world, running, load, seconds, answer=None):
        self.world, self.seconds = world, seconds
        # Whoever translates writes anew.
        answer = "rewritten" if load.api != "chat" else answer or running.rival.answer
        self.what = f"the load on {running.rival.name}"
        warm = 1 if load.model == "bench-paced" else max(1, WARM // load.connections // (8 if "sse" in load.model else 1))
        command = [world.tools / "load", "--to", f"127.0.0.1:{running.port}", "--model", load.model, "--connections",
                   load.connections, "--seconds", seconds, "--body", load.body, "--warm", warm, "--answer",
                   answer, "--api", load.api]
        for header in running.rival.headers:
            command += ["--header", header]
        self.rivals = running.processes
        self.process = world.processes.start("load", command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.line()

    def line(self):
        ready, _, _ = select.select([self.process.stdout], [], [], self.seconds + GRACE)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.process.poll()
            logs = "\n".join(end_of_log(process) for process in [self.process, *self.rivals])
            world = self.world
            world.processes.stop([self.process])
            first, *rest = logs.splitlines() or [""]
            raise Failure("\n".join([f"{self.what} failed: {first}", *rest]))
        return line

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def finish(self):
        report = json.loads(self.line())
        self.world.processes.stop([self.process])
        return report


def load(world, running, load):
    """CPU for each request, and what the generator saw."""
    generator = Generator(world, running, load, world.seconds)
    accounts.reset_peak(running.roots)
    ours = running.roots + [generator.process.pid, world.upstream_process.pid]
    before, all_before, busy, begun = (
        accounts.cpu(running.roots), accounts.cpu(ours), accounts.busy_ns(), time.monotonic_ns())
    generator.go()
    ready, _, _ = select.select([generator.process.stdout], [], [], world.seconds + GRACE)
    used = accounts.cpu_between(before, accounts.cpu(running.roots))
    busy, passed = accounts.busy_ns() - busy, time.monotonic_ns() - begun
    others = busy - accounts.cpu_between(all_before, accounts.cpu(ours))
    peak = accounts.memory(running.roots, "VmHWM")
    report = generator.finish()
    world.others.append(max(0, others) / passed / CORES)
    figures = {key: report[key] for key in (
        "requests", "p50_us", "p90_us", "p99_us", "first_p50_us", "first_p99_us", "stall_p99_us", "reconnects")}
    figures["rate"] = report["requests"] / report["seconds"]
    if running.roots:
        figures |= {"cpu_us": used / 1000 / report["requests"], "peak_mb": peak / 1024}
    return figures


def streams(world, running, count, beside=False):
    """Memory for each open stream, and how a client beside them fares."""
    await_settled(running.roots)
    before, begun = accounts.memory(running.roots), time.monotonic()
    generator = Generator(world, running, Load("bench-hold", count), 1)
    opened = time.monotonic() - begun
    await_settled(running.roots)
    figures = {"kib_per_stream": (accounts.memory(running.roots) - before) / count, "opened_s": opened}
    if beside:
        figures |= {key: value for key, value in load(world, running, Load("bench-json", 1)).items()
                    if key in ("p50_us", "p99_us")}
        figures["streams"] = count
    generator.go()
    generator.finish()
    return figures


def first_answer(running):
    """What a start took, and the memory of a rival with nothing to do."""
    time.sleep(SETTLE)
    return {"start_ms": running.started_in * 1000, "idle_mb": accounts.memory(running.roots) / 1024}


def await_settled(roots):
    """Waits until memory stays as it is for a while, or for ten times that while."""
    last, since, end = -1, time.monotonic(), time.monotonic() + 5 * SETTLE
    while time.monotonic() < min(since + SETTLE / 2, end):
        now = accounts.memory(roots)
        if now != last:
            last, since = now, time.monotonic()
        time.sleep(0.1)
