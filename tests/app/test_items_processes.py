"""Workers, a hub and a Publisher in processes of their own, and one store."""

from __future__ import annotations

import collections.abc as cabc
import json
import random
import threading
import typing as t
from pathlib import Path

import pytest
from support.each_store import shared_url as shared_url
from support.servers import gunicorn
from support.servers import serve
from support.servers import Server
from support.servers import until

from flask_push import connect
from flask_push import Event
from flask_push import ItemsFull
from flask_push import Publisher
from flask_push.client import Source

LAST = 60


@pytest.fixture
def publisher(url: str) -> cabc.Iterator[Publisher]:
    publisher = Publisher(url, timeout=20)
    yield publisher
    publisher.close()


def write(server: Server, events: list[dict[str, object]]) -> None:
    status, _, body = server.request("POST", "/publish", json.dumps(events).encode())
    assert status == 200, (body, server.log)


def keep(source: Source, shown: dict[str, str]) -> None:
    """What a page shows of a stream."""
    for event in source:
        if event.type == "push:items":
            shown.clear()
        elif event.item:
            shown[str(event.item)] = event.data


def test_items_are_what_two_workers_have_set_last(
    url: str, publisher: Publisher, tmp_path: Path
) -> None:
    """Each thread sets items of its own, and one that all of them set from rows: there, the
    newest version is the last, in whatever order the workers set it."""
    options: dict[str, t.Any] = dict(PUSH_BROKER_URL=url, PUSH_PUBLISH_TIMEOUT=20)
    versions = list(range(1, 4 * LAST + 1))
    random.shuffle(versions)
    failed: list[BaseException] = []

    def change(who: int, server: Server) -> None:
        try:
            for n in range(1, LAST + 1):
                version = versions.pop()
                write(
                    server,
                    [
                        {"channel": "log", "data": f"{who} {n}"},
                        {"channel": "a", "data": n, "item": f"{who} {n % 3}"},
                        {"channel": "a", "data": version, "item": 0, "version": version},
                    ],
                )
        except BaseException as error:
            failed.append(error)

    with serve(gunicorn, tmp_path, "-w", "2", **options) as server:
        source = connect(f"{server.url}/stream", channels=["log", "a"], items=True)
        shown: dict[str, str] = {}
        reading = threading.Thread(target=keep, args=(source.opened(), shown))
        threads = [threading.Thread(target=change, args=(n, server)) for n in range(4)]
        for thread in [reading, *threads]:
            thread.start()
        for thread in threads:
            thread.join()
        items = publisher.items("a").events
        expected = {name: event.data for name, event in items.items()}
        until(lambda: shown == expected)
        source.close()
        reading.join()
    assert not failed
    assert items["0"].data == str(4 * LAST) and items["0"].version == 4 * LAST
    found = {name: event.json for name, event in items.items() if name != "0"}
    assert found == {
        f"{who} {n % 3}": n for who in range(4) for n in range(LAST - 2, LAST + 1)
    }
    assert len(publisher.history("log", 4 * LAST).events) == 4 * LAST


def test_the_store_has_the_bounds_of_items_of_the_app_whose_hub_reads_it(
    url: str, publisher: Publisher, tmp_path: Path
) -> None:
    options: dict[str, t.Any] = dict(
        PUSH_BROKER_URL=url, PUSH_MAX_ITEMS=3, PUSH_ITEMS_BYTES=1500
    )
    with serve(gunicorn, tmp_path, **options) as server:
        server.stream("a").opened()
        publisher.publish_many(Event("a", n, item=n) for n in range(3))
        with pytest.raises(ItemsFull, match="more than 3"):
            publisher.set("a", 3, 3)
        with pytest.raises(ItemsFull, match="more than 1,500"):
            publisher.set("a", 0, "x" * 1300)
