"""Each end of a run is counted once, by the process or the hub that has stored it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from support.apps import make_app
from support.servers import until

from flask_push import Position
from flask_push import PublishUncertain
from flask_push import Push
from flask_push import RunOver
from flask_push._config import Config
from flask_push._delivery import figure_record
from flask_push._ipc.process_figures import ProcessFigures
from flask_push._measured_publisher import MeasuredPublisher
from flask_push.brokers import Conflict
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing import lose


def ends(figures: t.Any) -> dict[str, int]:
    """By status."""
    found = figures.items()
    return {k.partition(":")[2]: n for k, n in found if k.startswith("runs_ended:")}


class Cut(MemoryBroker):
    """Loses answers of the store."""

    lost = 0

    def change(self, changes: t.Any) -> list[Position]:
        if not self.lost:
            return super().change(changes)
        self.lost -= 1
        with contextlib.suppress(Conflict):
            super().change(changes)
        raise PublishUncertain("cut")


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure_record, "FIRST_SECONDS", 0.02)
    monkeypatch.setattr(figure_record, "BEAT_SECONDS", 0.1)


@pytest.mark.usefixtures("often")
def test_the_ends_of_runs_are_counted_by_status() -> None:
    push = Push()
    app = make_app(push, "ended", PUSH_METRICS=True)
    with app.test_client().get("/stream"):
        for number in range(3):
            with push.run(f"done {number}") as run:
                run.write("x")
        for _ in range(2):
            # Each attempt has an end.
            with pytest.raises(ZeroDivisionError), push.run("failed", key="k"):
                _ = 1 / 0
        with push.run("stopped"):
            push.stop("stopped")
        push.run("queued")
        assert push.stop("queued") and not push.stop("queued")
        with pytest.raises(RunOver), push.run("lost") as run:
            lose(run)
        # The hub, or the next call that looks, ends one that was not entered.
        push.run("late", wait=0.05)
        until(lambda: push.running("late") is None)
        figures = push._services().publisher.figures
        wanted = {"done": 3, "failed": 2, "stopped": 2, "lost": 2}
        until(lambda: ends(figures().figures) == wanted, 20)


@pytest.mark.parametrize("lost", [1, 3])
def test_an_end_is_counted_once_if_the_answer_of_the_store_is_lost(lost: int) -> None:
    """More often than it is tried at once, too."""
    broker, counts = Cut(), ProcessFigures(None)
    publisher = MeasuredPublisher(broker, Config(metrics=True), str, counts)
    with publisher.run("a"):
        broker.lost = lost
    assert ends(counts.figures) == {"done": 1} and not broker.lost


KILLED = """
import os, signal, sys
from flask_push import Publisher
with Publisher(sys.argv[1], lost_after=10).run("a"):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.usefixtures("often")
@pytest.mark.timeout(120)
def test_a_hub_counts_the_runs_of_a_process_that_was_killed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'push.db'}"
    push = Push()
    about = {"PUSH_METRICS": True, "PUSH_BROKER_URL": url, "PUSH_LOST_AFTER": 10}
    app = make_app(push, "killed", **about)
    with app.test_client().get("/stream"):
        killed = subprocess.run([sys.executable, "-c", KILLED, url])
        assert killed.returncode == -signal.SIGKILL
        figures = push._services().publisher.figures
        until(lambda: ends(figures().figures) == {"lost": 1}, 60)
        assert push.running("a") is None
        assert not ends(push._services().publisher._counts.figures)  # type: ignore[attr-defined]
