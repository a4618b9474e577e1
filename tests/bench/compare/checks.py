"""Checks of what `tests/bench/run` computes and writes; nothing is measured. The suite runs them:

    cd tests/bench && GRAPEVINE_BIN=... python3 -m unittest compare.checks
"""

import json
import os
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree
from pathlib import Path

from compare import features, hops, page, rivals, tables
from compare.chart import bars
from compare.rivals import Place
from compare.scenarios import SCENARIOS, Result, order

MANY = next(scenario for scenario in SCENARIOS if scenario.name == "many")
SINGLE = next(scenario for scenario in SCENARIOS if scenario.name == "single")


def figures(cpu, rate=1000.0, p50=100.0, p99=200.0):
    return {"cpu_us": cpu, "rate": rate, "p50_us": p50, "p99_us": p99}


class Tables(unittest.TestCase):
    def test_median_and_ratio_are_of_the_same_run(self):
        result = Result(MANY, {"nginx": [figures(30), figures(20), figures(10)],
                               "grapevine": [figures(25), figures(31), figures(30)]})
        self.assertEqual(tables.table(result).splitlines(), [
            "| proxy     | CPU us | over nginx | per second | p50 us | p99 us |",
            "| --------- | -----: | ---------: | ---------: | -----: | -----: |",
            "| nginx     |   20.0 |       1.00 |      1,000 |    100 |    200 |",
            "| grapevine |   30.0 |       1.50 |      1,000 |    100 |    200 |",
        ])

    def test_added_latency_is_over_the_same_round(self):
        direct = [{"p50_us": 10.0, "p99_us": 20.0}, {"p50_us": 30.0, "p99_us": 90.0}]
        result = Result(SINGLE, {"direct": direct, "nginx": [figures(1, p50=15.0), figures(1, p50=39.0)]})
        self.assertEqual(result.figure("nginx", "added_p50_us"), 7.0)
        self.assertIsNone(result.figure("direct", "added_p50_us"))
        self.assertIsNone(result.figure("direct", "ratio"))

    def test_without_what_ratios_are_over_there_are_none(self):
        row = tables.table(Result(MANY, {"grapevine": [figures(25)]})).splitlines()[-1]
        self.assertEqual(row.split("|")[3].strip(), "")

    def test_absent_rivals_are_named_with_the_reason(self):
        result = Result(MANY, {"nginx": [figures(20)]}, {"envoy": "it did not start"})
        self.assertIn("Not measured: envoy (it did not start).", tables.section(result))

    def test_numbers_keep_what_can_be_read(self):
        shown = [tables.number(value, 1) for value in (None, 0.04, 99.94, 1234.5)]
        self.assertEqual(shown, ["", "0.0", "99.9", "1,234"])


class Rounds(unittest.TestCase):
    def test_each_round_begins_with_the_next_rival(self):
        self.assertEqual([order(["a", "b", "c"], number)[0] for number in range(4)], ["a", "b", "c", "a"])
        self.assertEqual(order(["a", "b", "c"], 1), ["b", "c", "a"])

    def test_every_column_has_a_title(self):
        for scenario in SCENARIOS:
            self.assertEqual([column for column in scenario.columns if column not in tables.COLUMNS], [], scenario.name)


class Page(unittest.TestCase):
    run_ = ([Result(MANY, {"nginx": [figures(20)], "grapevine": [figures(30)]}, {"smg": "a reason"})],
            {"cpu": "a CPU", "cores": 2, "memory_gib": 4, "kernel": "6", "date": "2026-01-02", "busy": 0.0,
             "others": 0.02},
            {"nginx": "1.22.1", "grapevine": "0.1.0"}, {"envoy": "no wheel"}, {"rounds": 1, "seconds": 2.0})

    def test_page_has_figures_versions_and_its_charts(self):
        text, drawn = page.render(*self.run_)
        for part in ("| grapevine |   30.0 |       1.50 |", "| envoy     | absent: no wheel |", "2026-01-02",
                     "![1 KB, 32 clients](performance-many.svg)", "Not measured: smg (a reason)."):
            self.assertIn(part, text)
        self.assertEqual([name for name, _ in drawn.values()], ["performance-many.svg"])
        self.assertNotIn("must be taken again", text)

    def test_page_of_a_busy_machine_says_so(self):
        results, machine, *rest = self.run_
        self.assertIn("must be taken again", page.render(results, machine | {"others": 0.5}, *rest)[0])

    def test_figures_are_kept_by_round(self):
        kept = json.loads(page.as_json(*self.run_))
        self.assertEqual(kept["scenarios"]["many"]["rivals"]["grapevine"]["rounds"][0]["cpu_us"], 30)

    def test_chart_is_svg_and_cuts_what_is_out_of_scale(self):
        chart = bars("A <title>", "us", [("nginx", 10.0), ("grapevine", 20.0), ("x", 5000.0), ("none", None)])
        texts = [element.text for element in xml.etree.ElementTree.fromstring(chart).iter()]
        self.assertIn("5,000 (cut)", texts)
        self.assertNotIn("none", texts)


class Configurations(unittest.TestCase):
    """Each configuration of grapevine that is measured passes `grapevine check`."""

    def test_all_pass_check(self):
        program = os.environ["GRAPEVINE_BIN"]
        ours = [rivals.grapevine(program), hops.grapevine_hop(program), *features.variants(program)]
        with tempfile.TemporaryDirectory() as name:
            for rival in ours:
                place = Place(Recorder(), Path(name), 18_080, 18_081)
                rival.launch(place)
                for command in place.processes.commands:
                    done = subprocess.run([program, "check", "-c", str(command[-1])], capture_output=True, text=True,
                                          check=False)
                    self.assertEqual(done.returncode, 0, f"{rival.name}: {done.stdout}{done.stderr}")

    def test_openssl_reads_the_keys_of_other_hops(self):
        with tempfile.TemporaryDirectory() as name:
            folder = hops.make_certificates(os.environ["GRAPEVINE_BIN"], Path(name))
            done = subprocess.run(["openssl", "pkey", "-noout", "-in", str(folder / "owner.both")], check=False)
        self.assertEqual(done.returncode, 0)


class Recorder:
    """Takes commands instead of starting them."""

    def __init__(self):
        self.commands = []

    def start(self, _name, command, **_options):
        self.commands.append(command)


if __name__ == "__main__":
    unittest.main()
