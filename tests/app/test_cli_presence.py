"""The command ``flask push presence``."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from support.commands import failed
from support.commands import Run
from support.commands import run as run
from support.presence import store

from flask_push import NotRead
from flask_push import Publisher
from flask_push.brokers.sqlite import SqliteBroker


@pytest.fixture
def publisher(run: Run, tmp_path: Path) -> t.Iterator[Publisher]:
    """It has the store of the app."""
    assert run("presence", "chat").stdout == "0 present.\n"
    (path,) = tmp_path.rglob("push.db")
    publisher = Publisher(f"sqlite://{path}")
    yield publisher
    publisher.close()


def test_each_member_is_a_line_that_no_terminal_obeys(
    publisher: Publisher, run: Run
) -> None:
    store(
        publisher._broker,
        ("chat", "hubA.ann", {"name": "Ännchen"}),
        ("chat", "hubA.b\x1b[2J", "\u202e"),
        ("others", "hubA.carl", 1),
    )
    assert run("presence", "chat").stdout.splitlines() == [
        'ann {"name": "Ännchen"}',
        r'b\x1b[2J "\u202e"',
        "2 present.",
    ]
    store(publisher._broker, ("chat", "hubB", 3000))
    said = run("presence", "chat").stdout.splitlines()
    assert said[-1] == "3,002 present, 2 of whom are listed."


def test_who_is_present_is_printed_as_json(publisher: Publisher, run: Run) -> None:
    position = store(
        publisher._broker, ("chat", "hubA.ann", {"name": "Ännchen"}), ("chat", "hubA", 4)
    )
    done = run("presence", "chat", "--json")
    assert done.stdout.isascii() and done.stdout.count("\n") == 1
    assert json.loads(done.stdout) == {
        "members": [{"user": "ann", "info": {"name": "Ännchen"}}],
        "count": 5,
        "position": position,
    }


def test_the_command_presence_says_why_it_knows_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = failed(run("presence", "chat", PUSH_BROKER_URL="memory:"))
    assert "so this command can't see who is present. Set PUSH_BROKER_URL" in said
    assert "non-empty" in failed(run("presence", ""))

    def refuse(*_: object, **__: object) -> t.NoReturn:
        raise NotRead("The store is \x1b[2J busy.")

    monkeypatch.setattr(SqliteBroker, "read_items", refuse)
    assert failed(run("presence", "chat")) == r"Error: The store is \x1b[2J busy."
