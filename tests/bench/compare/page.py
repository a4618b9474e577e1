"""What `--write` keeps: every figure as JSON, and the guide's page with its charts."""

import json

from compare.chart import bars
from compare.machine import BUSY_MAX
from compare.processes import ROOT
from compare.tables import COLUMNS, markdown, section

GUIDE = ROOT / "deploy/guide/src"
FIGURES = ROOT / "tests/bench/figures.json"
PREFIX = "performance-"

PAGE = """<!-- Generated: tests/bench/run --write -->

# Performance

What grapevine costs beside other proxies: on one machine, in one run, in front of the same upstream. Compare within a
table only: all figures rise on a slower or a busier machine, and the ratios stay.

{summary}

## How it is measured

```text
cargo build --release && tests/bench/run --write
```

`tests/bench/run --list` names the scenarios, `--only` and `--rivals` choose among them, and `--quick` takes a minute. It
installs what it compares with: nginx and HAProxy from Debian, the others from PyPI.

- The upstream and the load generator are one thread each and cost a few microseconds a request. Each connection sends its
  next request when its answer is whole. An answer counts only if its status, length and end are right; a proxy that gives a
  wrong one is not measured.
- CPU is the time that all threads of a proxy's processes ran, from `/proc/PID/task/*/schedstat`, divided by the requests
  (or streams).
- Rivals take turns, and each round begins with another one. A figure is the median of the rounds, a ratio that of two medians
  of the same run.
- Every proxy keeps connections alive on both sides, has one worker per core, and writes no access log. grapevine runs as it
  comes, with clients' keys. nginx does not buffer answers (`proxy_buffering off`) and HAProxy does not delay parts of them
  (`option http-no-delay`), as streams need. nginx keeps up to 64 KB of a request's body in memory and the rest in a file;
  `nginx-memory` keeps all of it in memory.
- *added* is over the same requests sent to the upstream directly, in the same round. *Stall* is the longest gap within a
  stream, less the upstream's pace: the 99th percentile over streams. Peak memory is the sum of the processes' `VmHWM` during
  the load. Memory per stream is the growth of their resident memory, divided by the streams.
- Two nodes authenticate each other with certificates. grapevine's speak QUIC; nginx's and HAProxy's keep TLS connections
  open, with HTTP/1.1 or, where a proxy speaks it to servers (nginx since 1.29), HTTP/2. The CPU is that of both.
- Features are measured one by one: *keys* are clients' keys; *geo* and *residency* locate each client by a trusted
  `X-Forwarded-For`, to order upstreams and to apply a rule; *tracing* exports a span of every request; *all* is all of these.

## The machine

{machine}

{tables}"""


def machine_table(machine, options):
    rows = [
        ["CPU", f"{machine['cpu']}, {machine['cores']} cores"],
        ["memory", f"{machine['memory_gib']} GiB"],
        ["kernel", f"Linux {machine['kernel']}"],
        ["date", machine["date"]],
        ["rounds", f"{options['rounds']}, of {options['seconds']:g} seconds each"],
        ["other programs", f"used {machine['others'] * 100:.0f} % of the cores during the loads (median)"],
    ]
    return markdown(["machine", ""], rows, texts=2)


def versions_table(versions, absent):
    rows = [[name, version] for name, version in versions.items()]
    rows += [[name, f"absent: {reason}"] for name, reason in absent.items()]
    return markdown(["measured", "version"], rows, texts=2)


def charts(results):
    """The file and the text of a chart for each scenario."""
    made = {}
    for result in results:
        scenario = result.scenario
        unit, digits = COLUMNS[scenario.main]
        values = [(rival, result.median(rival, scenario.main)) for rival in result.rounds]
        unit = {"CPU us": "CPU microseconds each", "first answer ms": "milliseconds"}.get(unit, unit)
        made[scenario.name] = (f"{PREFIX}{scenario.name}.svg", bars(scenario.title, unit, values, digits))
    return made


def summary(results):
    """The ratios of grapevine in each scenario, where it has any."""
    rows = []
    for result in results:
        ours = [rival for rival in result.rounds if rival.startswith("grapevine")]
        if ours and result.ratio(ours[0]) is not None:
            unit = COLUMNS[result.scenario.main][0]
            rows.append([result.scenario.title, f"{result.ratio(ours[0]):.2f}", f"{unit}, over {result.scenario.over}"])
    if not rows:
        return ""
    return markdown(["grapevine", "ratio", "of"], rows)


def render(results, machine, versions, absent, options):
    drawn = charts(results)
    sections = []
    for result in results:
        heading, rest = section(result).split("\n\n", 1)
        name, _ = drawn[result.scenario.name]
        sections.append(f"{heading}\n\n![{result.scenario.title}]({name})\n\n{rest}")
    about = machine_table(machine, options) + "\n\n" + versions_table(versions, absent)
    if machine["others"] > BUSY_MAX:
        about += "\n\nThe machine was busy with other programs: these figures must be taken again."
    page = PAGE.format(summary=summary(results), machine=about, tables="\n\n".join(sections))
    return page + "\n", drawn


def as_json(results, machine, versions, absent, options):
    scenarios = {result.scenario.name: {
        "title": result.scenario.title, "over": result.scenario.over, "absent": result.absent,
        "rivals": {rival: {"ratio": result.ratio(rival), "rounds": rounds}
                   for rival, rounds in result.rounds.items()}} for result in results}
    whole = {"machine": machine, "options": options, "versions": versions, "absent": absent, "scenarios": scenarios}
    return json.dumps(whole, indent=1) + "\n"


def write(*run):
    """Replaces the figures, the page and its charts."""
    page, drawn = render(*run)
    FIGURES.write_text(as_json(*run))
    for old in GUIDE.glob(f"{PREFIX}*.svg"):
        old.unlink()
    for name, chart in drawn.values():
        (GUIDE / name).write_text(chart)
    (GUIDE / "performance.md").write_text(page)
