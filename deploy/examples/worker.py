#!/usr/bin/env python3
"""A worker out of process: leases tasks of a service from a grapevine node and runs them.

Needs nothing but Python. Here the work is to turn a text into capitals; put your own into `work`.

    GRAPEVINE_KEY=... ./worker.py http://127.0.0.1:8080 my-plugin:process

The key is one that the node knows with `services: [my-plugin:process]`; a node without keys needs
none, but names the service in `tasks.services`, so that its tasks are accepted.
Any number of workers may run, on any machine: each task has one worker at a time, and one that falls
silent loses its task to another.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request

LEASE_SECONDS = 15
POLL_SECONDS = 30


class Cancelled(Exception):
    """Somebody wants the task cancelled, or it is no longer ours."""


class Worker:
    """Runs tasks one after another, until it is stopped."""

    def __init__(self, url, service, key=None):
        self.url, self.service, self.key = url.rstrip("/"), service, key
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        self.stopping, self.busy = threading.Event(), False

    def stop(self, *_):
        """The current task is finished; a poll in flight is given up with the process."""
        self.stopping.set()
        if not self.busy:
            sys.exit(0)

    def call(self, path, body, timeout=10):
        """Posts JSON and returns the answer's; errors of the node raise urllib's HTTPError."""
        headers = {"content-type": "application/json"}
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.load(answer)

    def run(self):
        pause = 0.2
        while not self.stopping.is_set():
            ask = {"service": self.service, "worker": self.name, "max": 1,
                   "lease_seconds": LEASE_SECONDS, "wait_seconds": POLL_SECONDS}
            try:
                lent = self.call("/v1/tasks/lease", ask, timeout=POLL_SECONDS + 15)["data"]
                pause = 0.2
            except (urllib.error.URLError, OSError, ValueError) as error:
                print(f"no tasks can be leased: {error}", file=sys.stderr)
                self.stopping.wait(pause)
                pause = min(pause * 2, 10)
                continue
            self.busy = True
            for one in lent:
                self.attempt(one["task"], one["lease"])
            self.busy = False

    def attempt(self, task, lease):
        """Runs one task under its lease and reports its end to the node."""
        path, done, lost = f"/v1/tasks/{task['id']}", threading.Event(), threading.Event()
        progress = {"completed": 0, "failed": 0, "total": 0}

        def keep_the_lease():
            while not done.wait(LEASE_SECONDS / 3):
                try:
                    held = self.call(path + "/heartbeat", {"lease": lease, "progress": progress})
                    if held["cancel_requested"]:
                        lost.set()
                except urllib.error.HTTPError as error:
                    if error.code == 409:
                        lost.set()
                except OSError:
                    pass  # The next beat may get through before the lease runs out.

        def check():
            if lost.is_set():
                raise Cancelled()

        beat = threading.Thread(target=keep_the_lease, daemon=True)
        beat.start()
        try:
            end = ("/complete", {"output": work(task["payload"], progress, check)})
        except Cancelled:
            end = ("/release", {"cancelled": True})
        except Exception as error:  # Every error is reported, and the task runs again later.
            end = ("/fail", {"error": {"code": type(error).__name__, "message": str(error)}})
        finally:
            done.set()
            beat.join()
        self.report(path + end[0], {"lease": lease, **end[1]})

    def report(self, path, body):
        """Reports the end of a task; repeats while the node cannot be reached."""
        for pause in (0.2, 1, 2, 4, 8):
            try:
                self.call(path, body)
                return
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    print(f"{path}: {error.read().decode(errors='replace')}", file=sys.stderr)
                    return
            except OSError as error:
                print(f"{path}: {error}", file=sys.stderr)
            time.sleep(pause)


def work(payload, progress, check):
    """The work itself: returns the task's output. Call `check` now and then; it raises when to stop."""
    words = payload["text"].split()
    progress["total"] = len(words)
    capitals = []
    for word in words:
        check()
        capitals.append(word.upper())
        progress["completed"] += 1
    return {"text": " ".join(capitals)}


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    worker = Worker(sys.argv[1], sys.argv[2], os.environ.get("GRAPEVINE_KEY"))
    signal.signal(signal.SIGTERM, worker.stop)
    worker.run()


if __name__ == "__main__":
    main()
