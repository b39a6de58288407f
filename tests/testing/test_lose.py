"""A test of an app may lose a run."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from flask_push import Publisher
from flask_push import RunOver
from flask_push.testing import lose


def test_a_run_that_is_lost_can_be_written_no_more(tmp_path: Path) -> None:
    with contextlib.closing(Publisher(f"sqlite://{tmp_path}/push.db")) as push:
        other = push.run("b").__enter__()
        with pytest.raises(RunOver) as caught, push.run("a", key="k") as run:
            run.write("Hello")
            lose(run)
            assert push.running("a") is None
            run.write("late")
        assert run.status == caught.value.run.status == "lost" and not run.over
        assert push.run("a", key="k").status == "lost"
        other.write("x")
        other.__exit__(None, None, None)


def test_a_run_that_was_stopped_ends_as_stopped() -> None:
    push = Publisher("memory:")
    run = push.run("a").__enter__()
    push.stop("a")
    lose(run)
    run.__exit__(None, None, None)
    assert run.status == "stopped"


def test_a_run_that_is_queued_can_be_lost() -> None:
    push = Publisher("memory:")
    lose(push.run("a", key="k"))
    assert push.run("a", key="k").status == "lost" and push.running("a") is None


def test_a_run_that_is_not_active_cannot_be_lost() -> None:
    push = Publisher("memory:")
    with push.run("a") as run:
        pass
    with pytest.raises(ValueError, match=r"\[done, attempt 1\]> is not active"):
        lose(run)
    push.run("a")
    with pytest.raises(ValueError, match=r"\[done, attempt 1\]> is not active"):
        lose(run)
