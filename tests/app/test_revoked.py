"""What a process of the app reads of the disconnects, for signed addresses."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import os
import signal
import typing as t

import pytest
from support.each_store import url as url

from flask_push import Position
from flask_push._delivery.disconnect import Disconnect
from flask_push._delivery.stream import Stream
from flask_push._revoked import Revoked
from flask_push.brokers import KeepsOwnLogs
from flask_push.brokers import NotRead
from flask_push.brokers import open_broker
from flask_push.brokers import OwnPage


@pytest.fixture
def store(url: str) -> cabc.Iterator[t.Any]:
    with contextlib.closing(open_broker(url)) as store:
        yield store


def position(store: t.Any) -> str:
    page = store.read_own("disconnect")
    return str(Position(page.epoch, page.end))


def disconnect(store: t.Any, **selected: str) -> None:
    store.append("disconnect", Disconnect(**selected).to_bytes(), 3600)


def stream(seen: str, **more: t.Any) -> Stream:
    return Stream(("a",), "", **{"user": "ann", "session": "", "seen": seen, **more})


def test_a_disconnect_after_an_address_was_signed_names_it(store: t.Any) -> None:
    revoked = Revoked(lambda: store)
    disconnect(store, user="ann")
    before = stream(position(store))
    assert not revoked.names(before)
    disconnect(store, user="bob")
    assert not revoked.names(before)
    disconnect(store, user="ann")
    assert revoked.names(before)
    assert not revoked.names(stream(position(store)))
    assert not revoked.names(before._replace(user="eve"))


def test_a_session_stays_disconnected(store: t.Any) -> None:
    revoked = Revoked(lambda: store)
    disconnect(store, session="one")
    seen = position(store)
    assert revoked.names(stream(seen, session="one"))
    assert not revoked.names(stream(seen, session="two"))


@pytest.mark.parametrize("seen", ["other-1", "unknown"])
def test_an_address_of_another_epoch_is_revoked(seen: str, store: t.Any) -> None:
    assert Revoked(lambda: store).names(stream(seen))


class Pages:
    """A store that returns these pages."""

    def __init__(self) -> None:
        self.page = OwnPage("first", 0, 10, [])
        self.after: list[int] = []
        self.broken = False

    def read_own(self, log: str, after: int = 0) -> OwnPage:
        self.after.append(after)
        if self.broken:
            raise NotRead("it is broken")
        return self.page


@pytest.fixture
def pages() -> Pages:
    return Pages()


@pytest.fixture
def revoked(pages: Pages) -> Revoked:
    return Revoked(lambda: t.cast(KeepsOwnLogs, pages))


def test_what_has_expired_may_have_named_it(pages: Pages, revoked: Revoked) -> None:
    pages.page = OwnPage("first", 5, 10, [])
    assert revoked.names(stream(str(Position("first", 4))))
    assert not revoked.names(stream(str(Position("first", 5))))


def test_only_what_is_new_is_read_and_all_of_a_new_epoch(
    pages: Pages, revoked: Revoked
) -> None:
    old, new = stream(str(Position("first", 9))), stream(str(Position("again", 3)))
    assert not revoked.names(old)
    assert not revoked.names(old)
    pages.page = OwnPage("again", 0, 4, [])
    assert revoked.names(old) and not revoked.names(new)
    assert pages.after == [0, 10, 10, 0, 4]


def test_the_hub_decides_while_the_store_can_not_be_read(
    pages: Pages, revoked: Revoked
) -> None:
    pages.broken = True
    assert not revoked.names(stream("other-1"))
    pages.broken = False
    assert revoked.names(stream("other-1"))


def test_a_forked_process_reads_for_itself(pages: Pages, revoked: Revoked) -> None:
    assert not revoked.names(stream(str(Position("first", 9))))
    with revoked._using:
        pid = os.fork()
        if pid == 0:
            # If it waits for the thread of its parent, it ends.
            signal.alarm(5)
            pages.after.clear()
            code = 1
            with contextlib.suppress(BaseException):
                revoked.names(stream(str(Position("first", 9))))
                code = 0 if pages.after == [0] else 2
            os._exit(code)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
