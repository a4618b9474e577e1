"""What processes cost, as the kernel counts it: CPU time and memory of whole process trees."""

import os
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def tree(roots):
    """The processes with these ids and all their descendants that are still there."""
    found, waiting = [], list(roots)
    while waiting:
        pid = waiting.pop()
        try:
            tasks = list(Path(f"/proc/{pid}/task").iterdir())
            found.append(pid)
            for task in tasks:
                waiting += map(int, (task / "children").read_text().split())
        except (OSError, ValueError):
            continue
    return found


def cpu(roots):
    """Nanoseconds on a CPU of each thread of the process trees."""
    counts = {}
    for pid in tree(roots):
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                counts[pid, task.name] = int((task / "schedstat").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            continue
    return counts


def cpu_between(before, after):
    """Nanoseconds between two counts. What a thread used that has ended meanwhile is lost."""
    return sum(count - before.get(thread, 0) for thread, count in after.items())


def busy_ns():
    """Nanoseconds that all cores of the machine were not idle, since it started."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    user, nice, system, _idle, _wait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) * 1_000_000_000 // TICK


def memory(roots, field="VmRSS"):
    """KiB of memory of the process trees: of now (VmRSS), or at most since the last reset (VmHWM)."""
    total = 0
    for pid in tree(roots):
        try:
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(field + ":"):
                    total += int(line.split()[1])
        except OSError:
            continue
    return total


def reset_peak(roots):
    """Makes VmHWM count from now on."""
    for pid in tree(roots):
        try:
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        except OSError:
            continue
