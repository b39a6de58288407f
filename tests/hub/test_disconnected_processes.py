"""Streams are disconnected in hub processes: stopped, replaced, and behind nginx."""

from __future__ import annotations

import base64
import collections.abc as cabc
import json
import os
import signal
import typing as t
from pathlib import Path

import pytest
from support.hub_processes import opened
from support.hub_processes import replace
from support.hub_stores import store
from support.nginx import nginx
from support.reader import HttpReader
from support.return_tickets import come
from support.return_tickets import CONFIG
from support.return_tickets import views
from support.servers import gunicorn
from support.servers import hubs
from support.servers import serve
from support.servers import Server
from support.servers import status
from support.servers import the_hub
from support.servers import until

from flask_push import Position
from flask_push import Publisher
from flask_push._ipc.files import HubFiles
from flask_push._ipc.seen import SeenFile


@pytest.fixture
def publisher(tmp_path: Path) -> cabc.Iterator[Publisher]:
    publisher = Publisher(store(tmp_path))
    yield publisher
    publisher.close()


def is_disconnected(reader: HttpReader, reason: str) -> bool:
    reader.read_to_end()
    return [e.data for e in reader.events if e.type == "push:disconnect"] == [
        f'{{"reason":"{reason}"}}'
    ]


def test_a_hub_process_writes_its_position_into_its_file(
    tmp_path: Path, publisher: Publisher
) -> None:
    files = HubFiles.of(tmp_path / "push-basic")

    def written() -> tuple[int, int]:
        found = SeenFile(files.seen).read()
        return (0, 0) if found is None else (1, found.number)

    with serve(gunicorn, tmp_path) as server:
        reader = server.stream("a").opened()
        assert written() >= (1, Position.parse(reader.last_id).number)
        number = Position.parse(server.publish("a", "1")).number
        until(lambda: written() >= (1, number))
        number = Position.parse(publisher.disconnect(channel="a", reason="why")).number
        assert is_disconnected(reader, "why")
        assert written() >= (1, number), "before the stream ended"
        # So its browser has a stream again, once its process has found the file.
        until(lambda: opened(server))
        files.seen.unlink()
        until(lambda: written() >= (1, number))
        assert status(tmp_path)["disconnected"] == 1


def test_a_hub_that_was_stopped_writes_nothing_that_came_after(
    tmp_path: Path, publisher: Publisher
) -> None:
    with serve(gunicorn, tmp_path, "-w", "2", PUSH_HUB_PROCESSES=2) as server:
        readers: list[HttpReader] = []
        while len(hubs(tmp_path)) < 2 or len(readers) < 8:
            readers.append(server.stream("a").opened())
            assert len(readers) < 50
        server.publish("a", "before")
        for reader in readers:
            reader.read_data(1)
        stopped, _ = hubs(tmp_path)
        os.kill(stopped, signal.SIGSTOP)
        try:
            publisher.disconnect(channel="a", reason="why")
            server.publish("a", "after")
        finally:
            os.kill(stopped, signal.SIGCONT)
        for reader in readers:
            assert is_disconnected(reader, "why")
            assert reader.data == ["before"]
        again = server.stream("a", last_id=readers[0].last_id)
        assert again.read_data(1) == ["after"], "and who is granted it loses nothing"


@pytest.mark.parametrize("when", ["before", "while", "after"])
def test_a_hub_that_is_replaced_disconnects(
    when: str, tmp_path: Path, publisher: Publisher
) -> None:
    with serve(gunicorn, tmp_path) as server:
        readers = [server.stream("a").opened() for _ in range(5)]
        stays = server.stream("b").opened()
        pid = the_hub(tmp_path)
        if when == "while":
            # It is replaced after this, and has not read what comes now.
            os.kill(pid, signal.SIGSTOP)
        if when != "after":
            publisher.disconnect(channel="a", reason="why")
            server.publish("a", "later")
        if when == "while":
            os.kill(pid, signal.SIGCONT)
        replace(tmp_path)
        the_hub(tmp_path, but=pid)
        if when == "after":
            publisher.disconnect(channel="a", reason="why")
            server.publish("a", "later")
        for reader in readers:
            assert is_disconnected(reader, "why") and not reader.data
        server.publish("b", "1")
        assert stays.read_data(1) == ["1"]


def seen_by_a_view(front: Server) -> Position:
    """The position that the process of the app knows."""
    cookies: dict[str, str] = {}
    come(front, cookies).close()
    body, _, _ = cookies["push_ticket"].partition(".")
    return Position.parse(json.loads(base64.urlsafe_b64decode(body + "=="))["seen"])


def test_a_return_ticket_from_before_a_disconnect_is_for_the_view(
    tmp_path: Path, publisher: Publisher
) -> None:
    config: dict[str, t.Any] = {"PUSH_RETURN_TICKET": 60, "PUSH_RETRY": 0.5}
    with serve(gunicorn, tmp_path, **config) as server:
        front: Server = nginx(tmp_path, server, CONFIG)
        try:
            position = Position.parse(publisher.publish("a", "1"))
            # A process looks for the hub's file once a second, and now it has found it.
            until(lambda: seen_by_a_view(front) >= position)
            cookies: dict[str, str] = {}
            first = come(front, cookies)
            asked = views(front)
            again = come(front, cookies, first.last_id)
            assert views(front) == asked + 1, "the ticket is valid; this is the question"
            publisher.disconnect(channel="a", reason="why")
            for reader in first, again:
                # nginx keeps the browser's connection.
                reader.read_until(lambda r: "push:disconnect" in [e.type for e in r.events])
            asked = views(front)
            again = come(front, cookies, first.last_id)
            assert views(front) == asked + 2, "the view was asked"
            asked = views(front)
            # And its new ticket is valid.
            again.close()
            come(front, cookies, first.last_id)
            assert views(front) == asked + 1
        finally:
            front.kill()
