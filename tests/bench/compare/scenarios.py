"""What is measured, and in which rounds."""

import statistics
from dataclasses import dataclass, field
from typing import Callable

from compare import measure
from compare.measure import Load
from compare.processes import Failure, warn

# Open streams where the number is not the subject.
STREAMS = 2000
# Descriptors that are left for everything but streams, halved: grapevine keeps an eighth for upstreams and peers.
SPARE = 1000


@dataclass
class Scenario:
    name: str
    title: str
    # Which rivals: plain, hop, translated or features.
    kind: str
    # Takes the world and a running rival; gives the figures of one round.
    measure: Callable
    columns: list
    # The rival that the ratios are over, and the figure that they are of.
    over: str = "nginx"
    main: str = "cpu_us"
    # A rival is started anew for each round.
    fresh: bool = False
    # Connections that a rival needs room for, on both sides together.
    connections: int = 4096
    rounds_max: int = 1000
    # Rivals that do not get there.
    without: tuple = ()


REQUEST = ["cpu_us", "ratio", "rate", "p50_us", "p99_us"]
STREAM = ["cpu_us", "ratio", "rate", "p50_us", "first_p50_us", "first_p99_us"]


def _load(model, connections, body=1024, api="chat"):
    return lambda world, running: measure.load(world, running, Load(model, connections, body, api))


def _streams(count, beside=False):
    """As many streams as there are, with room for what a proxy needs besides: two descriptors for each."""
    return lambda world, running: measure.streams(world, running, min(count, world.descriptors // 2 - SPARE), beside)


SCENARIOS = [
    Scenario("single", "1 KB, one client", "plain", _load("bench-json", 1),
             [*REQUEST, "added_p50_us", "added_p99_us"]),
    Scenario("many", "1 KB, 32 clients", "plain", _load("bench-json", 32), REQUEST),
    Scenario("crowd", "1 KB, 128 clients", "plain", _load("bench-json", 128), REQUEST),
    Scenario("late", "1 KB from an upstream that answers after 20 ms, one client", "plain", _load("bench-late-json", 1),
             [*REQUEST, "added_p50_us", "added_p99_us"]),
    Scenario("late-first", "A stream of 100 events that begins after 20 ms, one client", "plain", _load("bench-late-sse", 1),
             ["cpu_us", "ratio", "rate", "added_first_p50_us", "added_first_p99_us"]),
    Scenario("upload", "Requests of 256 KB, 32 clients", "plain", _load("bench-json", 32, 262_144),
             [*REQUEST, "peak_mb"]),
    Scenario("burst", "Streams of 100 events at once, 32 clients", "plain", _load("bench-sse", 32), STREAM),
    Scenario("paced", "Streams of 100 events, one every 10 ms, 32 clients", "plain", _load("bench-paced", 32),
             ["cpu_us", "ratio", "first_p50_us", "first_p99_us", "stall_p99_us"]),
    Scenario("streams", f"Memory of {STREAMS:,} open streams", "plain", _streams(STREAMS),
             ["kib_per_stream", "ratio", "opened_s"], main="kib_per_stream", fresh=True, connections=8192,
             without=("litellm",)),
    Scenario("held", "10,000 open streams (or as many as descriptors allow), and a client beside them", "plain", _streams(10_000, True),
             ["streams", "opened_s", "kib_per_stream", "ratio", "p50_us", "p99_us"], main="kib_per_stream", fresh=True,
             connections=24_000, rounds_max=2, without=("litellm",)),
    Scenario("start", "Start and idle memory", "plain", lambda world, running: measure.first_answer(running),
             ["start_ms", "ratio", "idle_mb"], main="start_ms", fresh=True),
    Scenario("hop", "Two nodes: 1 KB, 32 clients", "hop", _load("bench-json", 32), REQUEST, over="nginx-h1"),
    Scenario("hop-upload", "Two nodes: requests of 256 KB, 32 clients", "hop", _load("bench-json", 32, 262_144),
             [*REQUEST, "peak_mb"], over="nginx-h1"),
    Scenario("hop-paced", "Two nodes: streams of 100 events, one every 10 ms, 32 clients", "hop",
             _load("bench-paced", 32), ["cpu_us", "ratio", "first_p50_us", "first_p99_us", "stall_p99_us"],
             over="nginx-h1"),
    Scenario("hop-streams", f"Two nodes: memory of {STREAMS:,} open streams", "hop", _streams(STREAMS),
             ["kib_per_stream", "ratio", "opened_s"], over="nginx-h1", main="kib_per_stream", fresh=True,
             connections=8192),
    Scenario("translated", "A client of messages on an upstream of chat completions: 1 KB, 8 clients", "translated",
             _load("bench-json", 8, api="messages"), REQUEST, over="litellm"),
    Scenario("translated-stream", "The same, streams of 100 events at once, 8 clients", "translated",
             _load("bench-sse", 8, api="messages"), STREAM, over="litellm"),
    Scenario("features", "Features of grapevine: 1 KB, 32 clients", "features", _load("bench-json", 32), REQUEST,
             over="none"),
]


@dataclass
class Result:
    """The figures of a scenario: of each rival, one set for each round."""

    scenario: Scenario
    rounds: dict = field(default_factory=dict)
    # Rivals without figures, and why.
    absent: dict = field(default_factory=dict)

    def median(self, rival, figure):
        values = [taken[figure] for taken in self.rounds.get(rival, []) if taken.get(figure) is not None]
        return statistics.median(values) if values else None

    def ratio(self, rival):
        """Of medians of the same run."""
        figure = self.scenario.main
        own, over = self.median(rival, figure), self.median(self.scenario.over, figure)
        return own / over if own is not None and over else None

    def added(self, rival, figure):
        """Over the upstream alone, in the same rounds."""
        pairs = zip(self.rounds.get(rival, []), self.rounds.get("direct", []))
        values = [taken[figure] - alone[figure] for taken, alone in pairs]
        return statistics.median(values) if values and rival != "direct" else None

    def figure(self, rival, column):
        if column == "ratio":
            return self.ratio(rival)
        if column.startswith("added_"):
            return self.added(rival, column.removeprefix("added_"))
        return self.median(rival, column)


def order(rivals, number):
    """Round k begins with rival k mod n, so that no one always follows the same."""
    first = number % len(rivals)
    return rivals[first:] + rivals[:first]


def run(world, scenario, rivals, rounds):
    """Measures the rivals in turns."""
    result = Result(scenario)
    rivals = comparable(scenario, rivals, result.absent)
    rounds = min(rounds, scenario.rounds_max)
    running = {}
    try:
        for number in range(rounds):
            for rival in order(rivals, number):
                if rival.name in result.absent:
                    continue
                warn(f"{scenario.name}: round {number + 1} of {rounds}: {rival.name}")
                try:
                    if rival.name not in running:
                        running[rival.name] = measure.start(world, rival, scenario.connections)
                    figures = scenario.measure(world, running[rival.name])
                    result.rounds.setdefault(rival.name, []).append(figures)
                except Failure as failure:
                    leave_out(scenario, rival, failure, result)
                if scenario.fresh or rival.name in result.absent:
                    stop(world, running, rival.name)
    finally:
        for started in running.values():
            world.processes.stop(started.processes)
    # As they were named, not as the rounds began.
    result.rounds = {rival.name: result.rounds[rival.name] for rival in rivals if rival.name in result.rounds}
    return result


def comparable(scenario, rivals, absent):
    """The rivals that the scenario measures."""
    absent |= {rival.name: "most of its streams do not begin within 30 s" for rival in rivals if rival.name in scenario.without}
    # Without processes there is no memory and no start to measure.
    has_processes = scenario.main != "cpu_us"
    return [rival for rival in rivals
            if rival.name not in absent and not (has_processes and rival.name == "direct")]


def stop(world, running, name):
    if name in running:
        world.processes.stop(running.pop(name).processes)


def leave_out(scenario, rival, failure, result):
    """A rival that fails is left out; the run ends where grapevine does, or what all the others are compared with."""
    if rival.name == scenario.over or rival.name.startswith("grapevine") or scenario.kind == "features":
        raise failure
    warn(f"{rival.name} is left out: {failure}")
    result.absent[rival.name] = str(failure).splitlines()[0]
    result.rounds.pop(rival.name, None)
