"""The benchmark runs, says what it should, and notices what must not be."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from support.servers import ROOT

# What the other tests here run.
_MEASURED = {"fan_out", "many_channels", "steady", "beside_a_storm", "come_back"}


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "bench" / "run.py", "--tiny", *words]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


def test_it_measures_and_writes_what_the_docs_include(tmp_path: Path) -> None:
    done = bench("fan_out", "many_channels", "steady", "--write", str(tmp_path))
    assert done.returncode == 0, done.stderr + done.stdout
    result = json.loads((tmp_path / "results.json").read_text())
    assert "bench/run.py --tiny fan_out" in result["command"] and result["date"]
    for row in result["rows"]:
        assert row["value"] > 0 and not row["faults"], row
        assert row["ratio"] > 0 and row["events"] > 0, row
    servers = {row["server"] for row in result["rows"]}
    assert servers == {"C", "Flask-Push, hub alone", "Flask-Push"}
    table = (tmp_path / "results.md").read_text()
    assert all(f"| {name} | " in table for name in servers)
    plots = sorted(tmp_path.glob("*.svg"))
    assert len(plots) == len({row["workload"] for row in result["rows"]})
    for path in plots:
        assert ElementTree.parse(path).getroot().tag.endswith("svg")


def test_it_notices_an_event_that_is_lost() -> None:
    done = bench("fan_out", "--servers", "C, lossy")
    assert done.returncode == 1, done.stderr + done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("| C, lossy")]
    assert "20 missing" in line


def test_readers_of_some_channels_are_counted_exactly() -> None:
    """Each channel has two of 20 readers, whatever part of the channels is published to."""
    code = """
import kinds
from machine import build
build()
running = kinds.start(kinds.BARE, 20, channels=100, per=10)
loader = running.loader()
try:
    running.come(loader, 20)
    loader.do("warm", 20)
    for most in 29, 20, 51, 1:
        answer = loader.do("burst", 32, 0, 20, most)
        print(answer.messages, answer.events, answer.faults())
finally:
    loader.end()
    running.end()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "bench", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == ["29 58 ", "20 40 ", "51 102 ", "1 2 ", ""]


def test_every_workload_can_be_run(tmp_path: Path) -> None:
    (names,) = re.findall(r"(?s)WORKLOAD  +(.*?)\n\n", bench("--help").stdout + "\n\n")
    rest = sorted({*names.replace(",", " ").split()} - _MEASURED)
    done = bench("--servers", "Flask-Push", "--write", str(tmp_path), "--", *rest)
    assert done.returncode == 0, done.stderr + done.stdout
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    for row in rows:
        assert row["absent"] or row["rounds"] and not row["faults"], row
    # More streams than one hub may hold, and where a view computes beside them.
    labels = {row["server"] for row in rows}
    assert {"50 streams, 5 hubs", "SQLite, 100 at once, 2 processes"} <= labels
    assert "Flask-Push, hub in a thread, a view computes" in labels


def test_plain_requests_are_answered_while_all_come_back(tmp_path: Path) -> None:
    done = bench("beside_a_storm", "--write", str(tmp_path))
    assert done.returncode == 0, done.stderr + done.stdout
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    names = ["", ": half of them", ": until the last is back"]
    whole = "plain requests while 50 come back"
    found = [row for row in rows if row["server"] == "Flask-Push"]
    assert [row["workload"] for row in found] == [whole + name for name in names]
    for row in found:
        assert row["value"] > 0 and row["events"] > 50, row
    # Nobody is back before the time that it was told.
    assert found[2]["value"] > 2


def test_who_comes_back_by_ticket_has_missed_nothing(tmp_path: Path) -> None:
    ticket = "Flask-Push behind nginx, by ticket"
    done = bench("come_back", "--servers", ticket, "--write", str(tmp_path))
    assert done.returncode == 0, done.stderr + done.stdout
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    found = [row for row in rows if row["server"] == ticket]
    assert [row["unit"] for row in found] == ["events per CPU second", "s"]
    for row in found:
        assert row["value"] > 0 and not row["faults"] and row["events"] == 20 * 100, row
