"""The benchmark runs, writes its results, and finds lost events."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from support.servers import ROOT

# The workloads of the other tests here.
_MEASURED = {
    *("fan_out", "many_channels", "latency"),
    *("requests_while_reconnecting", "reconnect", "scale"),
}


_COSTS = {
    *("gzip_bytes", "gzip_time", "gzip_connect"),
    *("redis_publish", "redis_hubs", "redis_delay", "redis_feed", "set_cost"),
    *("item_newcomers", "item_slow_reader", "item_fan_out", "disconnect", "paced_items"),
    "after_commit",
    *("presence_joins", "presence_newcomers", "run_words", "run_writes"),
    *("outbox_delay", "outbox_rate", "metrics_scrape"),
}


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "bench" / "run.py", "--tiny", *words]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


def test_it_measures_and_writes_the_files_that_the_docs_include(tmp_path: Path) -> None:
    done = bench("fan_out", "many_channels", "latency", "--write", str(tmp_path))
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


def test_it_finds_a_lost_event() -> None:
    done = bench("fan_out", "--servers", "C, lossy")
    assert done.returncode == 1, done.stderr + done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("| C, lossy")]
    assert "20 missing" in line


def test_events_are_counted_exactly_when_readers_have_different_channels() -> None:
    """Each channel has two of 20 readers, whatever part of the channels is published to."""
    code = """
import servers
from loader import build
from start.server import start
build()
running = start(servers.BARE, 20, channels=100, channels_per_reader=10)
loader = running.loader()
try:
    running.connect(loader, 20)
    loader.run("warm", 20)
    for most in 29, 20, 51, 1:
        answer = loader.run("publish", 32, 0, 20, most)
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


def test_every_workload_runs(tmp_path: Path) -> None:
    (text,) = re.findall(r"(?s)WORKLOAD  +(.*?)\n\n", bench("--help").stdout + "\n\n")
    names = re.findall(r"\w+", text.replace("of parts:", ""))
    assert "fleet" in names and {*names} > _MEASURED | _COSTS
    rest = sorted({*names} - _MEASURED - _COSTS)
    words = "--seconds", "0.05", "--servers", "Flask-Push"
    done = bench(*words, "--write", str(tmp_path), "--", *rest)
    assert done.returncode == 0, done.stderr + done.stdout
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    for row in rows:
        assert row["absent"] or row["rounds"] and not row["faults"], row
    # Five hubs, where one may not hold all streams; two publishers; a busy view.
    labels = {row["server"] for row in rows}
    assert {"50 streams, 5 hubs", "SQLite, 100 at once, 2 processes"} <= labels
    assert "Flask-Push, hub in a thread, a view computes" in labels


def test_plain_requests_are_answered_while_all_readers_reconnect(tmp_path: Path) -> None:
    done = bench("requests_while_reconnecting", "--write", str(tmp_path))
    assert done.returncode == 0, done.stderr + done.stdout
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    names = ["", ": half of them", ": until the last has reconnected"]
    whole = "plain requests while 50 reconnect"
    found = [row for row in rows if row["server"] == "Flask-Push"]
    assert [row["workload"] for row in found] == [whole + name for name in names]
    for row in found:
        assert row["value"] > 0 and row["events"] > 50, row
    # No reader reconnects before its `retry` has passed.
    assert found[2]["value"] > 2


def test_readers_that_reconnect_by_ticket_miss_no_event(tmp_path: Path) -> None:
    ticket = "Flask-Push behind nginx, by ticket"
    done = bench("reconnect", "--servers", ticket, "--write", str(tmp_path))
    assert done.returncode == 0, done.stderr + done.stdout
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    found = [row for row in rows if row["server"] == ticket]
    assert [row["unit"] for row in found] == ["events per CPU second", "s"]
    for row in found:
        assert row["value"] > 0 and not row["faults"] and row["events"] == 20 * 100, row


def test_the_cost_of_each_part_is_measured(tmp_path: Path) -> None:
    words = "--seconds", "0.05", "--write", str(tmp_path)
    done = bench(*words, "--", *sorted(_COSTS))
    assert done.returncode == 0, done.stderr + done.stdout
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert {row["server"] for row in rows} >= {
        "plain",
        "gzip",
        "yardstick",
        "ours",
        "hub",
        *("set", "items", "50 at once", "after 50 at once", "of all sets"),
        *("joined", "counted"),
    }
    for row in rows:
        assert row["value"] > 0 and not row["faults"], row


def test_streams_of_a_hub_that_is_killed_resume_and_each_event_is_checked(
    tmp_path: Path,
) -> None:
    done = bench("scale", "--seconds", "0.05", "--write", str(tmp_path))
    assert done.returncode == 0, done.stderr + done.stdout
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    found = {row["workload"].removeprefix("scale: "): row for row in rows}
    assert not [row for row in rows if row["faults"]]
    assert {row["server"] for row in rows} == {"60 streams"}
    assert found["streams of the hub that was killed"]["value"] > 0
    assert found["seconds until they were open again"]["value"] > 0
    assert found["events that were lost, doubled or not known"]["value"] == 0
    assert found["users who are present"]["value"] == 12
    assert "| scale: hubs' memory | " in done.stdout
