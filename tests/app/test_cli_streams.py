"""The command ``flask push streams``."""

from __future__ import annotations

import json
from pathlib import Path

from support.commands import failed
from support.commands import Run
from support.commands import run as run
from support.servers import gunicorn
from support.servers import serve
from support.servers import until

from flask_push._system.terminal import width_of


def test_streams_are_listed_with_user_channels_and_how_they_are_held(
    run: Run, tmp_path: Path
) -> None:
    assert "No hub is running" in failed(run("streams"))
    with serve(gunicorn, tmp_path) as server:
        server.stream("chat", "news\x1b[2J", user="ann\x1b[2J").opened()
        server.stream("chat").opened()
        until(lambda: run("streams").stdout.count("live") == 2)
        first, *lines = run("streams").stdout.splitlines()
        words = "id", "user", "session", "open", "place", "held", "channels"
        assert first.split() == list(words)
        assert any(line.endswith(r"socket  chat, news\x1b[2J") for line in lines), lines
        assert any(r"ann\x1b[2J" in line for line in lines)
        column = first.index("channels")
        assert all(line[column - 2 : column] == "  " for line in lines)

        said = run("streams", "--json", "--channel", "news\x1b[2J").stdout
        (row,) = map(json.loads, said.splitlines())
        assert row["user"] == "ann\x1b[2J" and row["channels"] == ["chat", "news\x1b[2J"]
        assert run("streams", "--user", "ben").stdout.startswith("No stream is open here")


def test_the_columns_are_straight_beside_characters_that_take_two(
    run: Run, tmp_path: Path
) -> None:
    with serve(gunicorn, tmp_path) as server:
        for user in "日本語", "ann":
            server.stream("chat", user=user).opened()
        until(lambda: run("streams").stdout.count("live") == 2)
        first, *lines = run("streams").stdout.splitlines()
        places = [width_of(line.partition("chat")[0]) for line in lines]
        assert places == [first.index("channels")] * 2, lines


def test_streams_beyond_the_limit_are_counted(run: Run, tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path, PUSH_HUB_PROCESSES=2) as server:
        for n in range(7):
            server.stream("a", user=f"{n}").opened()
        config = {"PUSH_HUB_PROCESSES": 2}
        until(lambda: run("streams", **config).stdout.count("live") == 7)
        done = run("streams", "--limit", 3, **config)
        *rows, last = done.stdout.splitlines()
        assert len(rows) == 4 and last == "and 4 more. --limit shows more of them."
        done = run("streams", "--limit", 0, "--json", **config)
        assert done.stdout == "" and done.stderr.startswith("and 7 more.")
