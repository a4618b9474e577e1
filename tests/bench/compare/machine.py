"""What a run ran on."""

import datetime
import os
import platform
import time

from compare import accounts

# Above this share of all cores that other programs use, figures are not to be kept.
BUSY_MAX = 0.1


def describe():
    model = "unknown"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory),
        "kernel": platform.release(),
        "date": datetime.date.today().isoformat(),
        "busy": round(busy_share(), 3),
    }


def busy_share(seconds=1.0):
    """The share of all cores that programs use while nothing is measured."""
    before, start = accounts.busy_ns(), time.monotonic_ns()
    time.sleep(seconds)
    used, passed = accounts.busy_ns() - before, time.monotonic_ns() - start
    return used / passed / os.cpu_count()
