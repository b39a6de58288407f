"""Items of whole processes: a publisher, workers, and hubs that end or are replaced."""

from __future__ import annotations

import collections.abc as cabc
from pathlib import Path

import pytest
from support.hub_processes import replace
from support.hub_stores import store
from support.item_hubs import ItemPage
from support.reader import HttpReader
from support.servers import gunicorn
from support.servers import kill_hubs
from support.servers import serve
from support.servers import Server
from support.servers import the_hub
from support.sockets import noise

from flask_push import Publisher


@pytest.fixture
def server(tmp_path: Path) -> cabc.Iterator[Server]:
    with serve(gunicorn, tmp_path, "-w", "2", PUSH_RETRY=0.5) as server:
        yield server


@pytest.fixture
def publisher(server: Server, tmp_path: Path) -> cabc.Iterator[Publisher]:
    publisher = Publisher(store(tmp_path))
    yield publisher
    publisher.close()


def read_items(page: ItemPage[HttpReader], items: dict[str, str], whole: int = 1) -> None:
    def has(_: HttpReader) -> bool:
        page.look()
        found = {item: data for (_, item), data in page.items.items()}
        return found == items and page.whole >= whole

    page.reader.read_until(has)


def again(server: Server, page: ItemPage[HttpReader]) -> None:
    """Reconnect, as a page does that holds its items."""
    page.begin(server.stream("a", last_id=page.reader.last_id, holds=page.holds, items=1))


def test_a_page_keeps_its_items_when_the_hub_is_killed(
    server: Server, publisher: Publisher, tmp_path: Path
) -> None:
    publisher.set("a", "x", "1")
    publisher.set("a", "y", "1")
    page = ItemPage(server.stream("a", items=1))
    read_items(page, {"x": "1", "y": "1"})
    publisher.set("a", "x", "2")
    read_items(page, {"x": "2", "y": "1"})
    assert len(kill_hubs(tmp_path)) == 1
    page.reader.read_to_end()
    page.look()
    publisher.unset("a", "y")
    publisher.set("a", "z", "3")
    again(server, page)
    read_items(page, {"x": "2", "z": "3"})
    assert page.opened == "changes" and page.told == page.whole == 1


def test_a_page_continues_in_the_middle_of_its_items_when_the_hub_is_replaced(
    server: Server, publisher: Publisher, tmp_path: Path
) -> None:
    many = {f"i{n}": noise(2000) for n in range(1000)}
    for item, data in many.items():
        publisher.set("a", item, data)
    # It takes only a part until the test reads more.
    page = ItemPage(server.stream("a", items=1, receive_buffer=4096))
    page.reader.read_until(lambda _: page.look().items)
    assert len(page.items) < 100
    pid = the_hub(tmp_path)
    replace(tmp_path)
    the_hub(tmp_path, but=pid)
    publisher.set("a", "i0", "new")
    publisher.unset("a", "i999")
    del many["i999"]
    read_items(page, {**many, "i0": "new"})
    assert page.told == page.whole == 1
