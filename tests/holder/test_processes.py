"""Processes that hold runs are killed, stopped, forked and ended."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.each_store import shared_url as shared_url
from support.runs import events_of
from support.runs import holders_of
from support.runs import record_now
from support.runs import take_for_dead
from support.servers import gunicorn
from support.servers import program
from support.servers import serve
from support.servers import TESTS
from support.servers import until

from flask_push import Publisher
from flask_push import RunBusy


@pytest.fixture
def publisher(url: str) -> cabc.Iterator[Publisher]:
    publisher = Publisher(url, timeout=20)
    yield publisher
    publisher.close()


#: For what does not depend on the store.
in_a_file = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@contextlib.contextmanager
def holding(url: str, way: str) -> cabc.Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "apps.holding", url, way]
    options = {"cwd": TESTS, "stdin": subprocess.PIPE, "text": True}
    with program(command, **options) as process:
        yield process


def lines(process: subprocess.Popen[str]) -> list[str]:
    """All that it prints, to its end."""
    out, _ = process.communicate("\n", timeout=60)
    return str(out).splitlines()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_run_of_a_process_that_was_killed_is_lost_and_begins_again(
    url: str, publisher: Publisher
) -> None:
    with holding(url, "hold") as process:
        assert line(process) == "entered"
        run = publisher.run("a", key="k")
        with pytest.raises(RunBusy), run:
            raise AssertionError("Another process holds it.")
        process.kill()
        process.wait()
    assert record_now(publisher, "a").status == "running"
    take_for_dead(publisher, record_now(publisher, "a").process)
    assert events_of(publisher, "a")[1:] == ["[running]", "x", "[lost]"]
    assert holders_of(publisher) == {}
    with publisher.run("a", key="k") as again:
        assert again.attempt == 2
        again.write("y")
    assert events_of(publisher, "a")[4:] == ["[running]", "y", "[done]"]


def test_a_process_that_slept_stores_nothing_after_its_run_was_lost(
    url: str, publisher: Publisher
) -> None:
    with holding(url, "hold") as process:
        assert line(process) == "entered"
        process.send_signal(signal.SIGSTOP)
        take_for_dead(publisher, record_now(publisher, "a").process)
        with publisher.run("a", key="k") as again:
            again.write("y")
            process.send_signal(signal.SIGCONT)
            assert lines(process) == ["RunOver lost"]
            again.write("z")
    assert process.returncode == 1
    assert events_of(publisher, "a")[2:] == ["x", "[lost]", "[running]", "y", "z", "[done]"]
    assert publisher.items("runs").events["a"].json["attempt"] == 2


def test_a_process_that_ends_while_a_thread_holds_a_run_loses_it_at_once(
    url: str, publisher: Publisher
) -> None:
    with holding(url, "end_in_another_thread") as process:
        assert lines(process) == [] and process.returncode == 0
    assert events_of(publisher, "a")[1:] == ["[running]", "x", "[lost]"]
    assert publisher.items("runs").events["a"].json["status"] == "lost"
    assert holders_of(publisher) == {}


@in_a_file
def test_a_worker_that_is_reloaded_loses_the_runs_of_its_threads_at_once(
    url: str, publisher: Publisher, tmp_path: Path
) -> None:
    with serve(gunicorn, tmp_path, app="apps.thread_runs", PUSH_BROKER_URL=url) as server:
        assert server.request("POST", "/answer")[0] == 200
        until(lambda: events_of(publisher, "a")[1:] == ["[running]", "x"])
        server.process.send_signal(signal.SIGHUP)
        until(lambda: events_of(publisher, "a")[2:] == ["x", "[lost]"])
        # The process has done it, which had a row until then.
        until(lambda: holders_of(publisher) == {})


@in_a_file
def test_a_block_that_the_end_of_the_process_leaves_has_failed(
    url: str, publisher: Publisher
) -> None:
    with holding(url, "exit_in_the_block") as process:
        assert lines(process) == [] and process.returncode == 3
    assert events_of(publisher, "a")[1:] == ["[running]", "x", "[failed]"]
    assert holders_of(publisher) == {}


def test_a_child_does_not_write_the_runs_of_its_parent_and_ends_none(
    url: str, publisher: Publisher
) -> None:
    with holding(url, "fork") as process:
        assert lines(process) == ["RuntimeError running", "stored"]
        assert process.returncode == 0
    assert events_of(publisher, "a")[1:] == ["[running]", "x", "y", "[done]"]
    assert events_of(publisher, "b")[1:] == ["[running]", "of the child", "[done]"]
    assert holders_of(publisher) == {}


def test_a_child_of_multiprocessing_is_not_in_the_block(
    url: str, publisher: Publisher
) -> None:
    with holding(url, "multiprocess") as process:
        assert lines(process) == ["RuntimeError running", "RunBusy", "stored"]
        assert process.returncode == 0
    assert events_of(publisher, "a")[1:] == ["[running]", "x", "y", "[done]"]


def test_a_run_that_is_stopped_from_another_process_stores_nothing_more(
    url: str, publisher: Publisher
) -> None:
    with holding(url, "hold") as process:
        assert line(process) == "entered"
        assert publisher.stop("a", key="k")
        assert lines(process) == ["RunOver stopping"]
        assert process.returncode == 0
    assert events_of(publisher, "a")[2:] == ["x", "[stopping]", "[stopped]"]


def test_greenlets_hold_runs_and_one_that_computes_loses_none(
    url: str, publisher: Publisher
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "apps.green_runs", url],
        cwd=TESTS,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    whole = [f"{piece} " for piece in range(20)]
    for number in range(20):
        assert events_of(publisher, f"answer:{number}")[2:] == [*whole, "[done]"]
    assert events_of(publisher, "compute")[2:] == ["computed", "[done]"]
    shared = events_of(publisher, "shared")[2:-1]
    for number in range(5):
        assert [each for each in shared if each[0] == f"{number}"] == [
            *(f"{number} ", f"{number}") * 10
        ]
    assert events_of(publisher, "stopped")[2:] == ["[stopping]", "[stopped]"]
    assert holders_of(publisher) == {}


@in_a_file
def test_many_processes_that_want_to_write_a_run_begin_it_once(
    url: str, publisher: Publisher
) -> None:
    with contextlib.ExitStack() as stack:
        all_of = [stack.enter_context(holding(url, "hold")) for _ in range(4)]
        first = [line(process) for process in all_of]
        assert sorted(first) == ["", "", "", "entered"]
        until(lambda: len(holders_of(publisher)) == 1)
        found = [lines(process) for process in all_of]
        assert sorted(found) == [[], [], [], ["stored"]]
    assert events_of(publisher, "a")[1:] == ["[running]", "x", "later", "[done]"]
