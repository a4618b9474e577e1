#!/usr/bin/env python3
"""Runs the statements that apalis-sqlite 1.0.0 ships, on the tables that its migrations make, through two
stories: a task that kills its worker, and a worker that reports late. Its Postgres statements do the same.

    python3 apalis_faults.py ~/.cargo/registry/src/*/apalis-sqlite-1.0.0
"""

import glob
import json
import sqlite3
import sys

DEAD_FOR = 2
LONG_AGO = 60


class Queue:
    """A table of apalis's, with one task in it."""

    def __init__(self, source: str, attempts_max: int):
        self.source = source
        self.base = sqlite3.connect(":memory:", isolation_level=None)
        self.base.row_factory = sqlite3.Row
        for migration in sorted(glob.glob(f"{source}/migrations/*.sql")):
            with open(migration, encoding="utf-8") as file:
                self.base.executescript(file.read())
        self.base.execute(
            "INSERT INTO Jobs (job, id, job_type, status, attempts, max_attempts, run_at, priority) "
            "VALUES (x'31', 'task', 'queue', 'Pending', 0, ?, 0, 0)",
            (attempts_max,),
        )

    def run(self, name: str, *values):
        with open(f"{self.source}/queries/{name}.sql", encoding="utf-8") as file:
            return self.base.execute(file.read(), values)

    def heartbeat(self, worker: str, ago: int = 0):
        self.base.execute(
            "INSERT OR REPLACE INTO Workers (id, worker_type, storage_name, layers, last_seen, started_at) "
            "VALUES (?, 'queue', 'storage', '', strftime('%s', 'now') - ?, strftime('%s', 'now'))",
            (worker, ago),
        )

    def begin(self, worker: str) -> bool:
        self.heartbeat(worker)
        given = self.run("backend/fetch_next", worker, "queue", 10, 2**40).fetchall()
        self.run("task/lock", json.dumps([task["id"] for task in given]), worker)
        return bool(given)

    def lose(self, worker: str):
        self.heartbeat(worker, LONG_AGO)
        self.run("backend/reenqueue_orphaned", DEAD_FOR, "queue", None, None)

    def ack(self, worker: str, attempt: int, output: str):
        result = {"task_id": "task", "attempt": attempt, "result": {"Ok": output}, "status": "Done"}
        self.run("task/ack", json.dumps([result]), worker)

    def record(self) -> dict:
        text = "SELECT status, attempts, max_attempts, last_result FROM Jobs"
        return dict(self.base.execute(text).fetchone())


def main():
    source = sys.argv[1]
    queue = Queue(source, attempts_max=2)
    runs = 0
    for number in range(10):
        runs += queue.begin(f"worker-{number}")
        queue.lose(f"worker-{number}")
    print(f"a task that kills each of 10 workers was run {runs} times: {queue.record()}")

    queue = Queue(source, attempts_max=5)
    queue.begin("worker")
    queue.lose("worker")
    queue.begin("worker")
    print(f"the second attempt runs:           {queue.record()}")
    queue.ack("worker", 1, "first")
    print(f"the first attempt speaks late:     {queue.record()}")
    queue.ack("worker", 2, "second")
    print(f"the second attempt ends:           {queue.record()}")


main()
