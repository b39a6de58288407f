"""The lists of the admin page: over all hubs of a machine, bounded, and honest."""

from __future__ import annotations

import contextlib
import typing as t
from pathlib import Path

import pytest
from support.servers import gunicorn
from support.servers import serve
from support.servers import until

from flask_push import _admin_lists
from flask_push import Publisher
from flask_push._admin_lists import Hub
from flask_push._admin_lists import Lists
from flask_push._ipc.active_runs import active_runs
from flask_push._ipc.files import HubFiles
from flask_push._ipc.listing_protocol import ChannelPage
from flask_push._ipc.listing_protocol import ListChannels
from flask_push._ipc.listing_protocol import ListStreams
from flask_push._ipc.listing_protocol import StreamPage
from flask_push.brokers import KeepsRuns


def row(id: str, **more: t.Any) -> dict[str, t.Any]:
    return {"id": id, "user": "ann", "session": None, **more}


def hub(*pages: StreamPage, channels: t.Any = ()) -> Hub:
    """Answers with these pages, one after the other."""

    def streams(asked: ListStreams) -> StreamPage:
        return pages[max(asked.after, 0)]

    return Hub(streams, lambda asked: ChannelPage(list(channels), None))


def test_streams_of_all_pages_and_hubs_are_one_list() -> None:
    one = hub(StreamPage([row("a")], 1, 1), StreamPage([row("b")], 4, None))
    lists = Lists([one, hub(StreamPage([row("c")], 1, None))])
    found = lists.streams(None, None)
    assert [each["id"] for each in found["streams"]] == ["a", "b", "c"]
    assert (found["more"], lists.problems) == (3, [])


def test_readers_of_a_channel_are_added_up_over_the_hubs() -> None:
    hubs = hub(channels=[("a", 2), ("b", 3)]), hub(channels=[("a", 2)])
    assert Lists(hubs).channels() == [("a", 4), ("b", 3)]


def test_what_proves_a_login_is_not_sent_to_the_page() -> None:
    rows = [row("a", session="secret"), row("b", session="secret", cut=True), row("c")]
    lists = Lists([hub(StreamPage(rows, 3, None))])
    found = lists.streams(None, None)["streams"]
    assert [each["session"] for each in found] == [True, True, False]
    assert "secret" not in str(found)


def test_a_session_that_is_not_whole_is_never_named() -> None:
    for each, session in (
        (row("a", session="s"), "s"),
        (row("a", session="s…", cut=True), None),
        (row("a"), None),
    ):
        assert Lists([hub(StreamPage([each], 1, None))]).session_of("a") == session
    assert Lists([hub(StreamPage([], 0, None))]).session_of("a") is None


def test_a_hub_that_never_ends_its_list_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_admin_lists, "_MOST_PAGES", 3)
    lists = Lists([hub(StreamPage([row("a")], 1, 0))])
    assert len(lists.streams(None, None)["streams"]) == 3
    assert lists.problems == ["There are more streams than this page looks at."]


def test_a_hub_that_can_not_be_asked_is_a_problem_that_is_said(tmp_path: Path) -> None:
    def fail(asked: t.Any) -> t.NoReturn:
        calls.append(asked)
        raise ConnectionRefusedError("nobody there")

    calls: list[t.Any] = []
    lists = Lists([Hub(fail, fail), hub(StreamPage([row("b")], 1, None))])
    assert [each["id"] for each in lists.streams(None, None)["streams"]] == ["b"]
    lists.channels()
    assert lists.problems == ["A hub of this machine could not be asked: nobody there."]
    assert len(calls) == 1, "a request waits for it once"


def test_all_hub_processes_of_the_machine_are_asked(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path, PUSH_HUB_PROCESSES=2) as server:
        for n in range(6):
            server.stream("chat", user=f"{n}").opened()
        found = [HubFiles.of(tmp_path / "push-basic", n) for n in range(2)]
        hubs = _admin_lists.hubs_of(t.cast(t.Any, NotAThread), found)
        lists = Lists(hubs)
        until(lambda: len(lists.streams(None, None)["streams"]) == 6)
        assert all(each.streams(ListStreams()).matching for each in hubs)
        assert lists.channels() == [("chat", 6)]
        assert hubs[0].channels(ListChannels()).next is None


class NotAThread:
    """The services of an app whose hub is a process."""

    hub = None


def test_active_runs_are_those_that_are_written_or_queued(tmp_path: Path) -> None:
    with contextlib.closing(Publisher(f"sqlite://{tmp_path}/push.db")) as publisher:
        broker = publisher._broker
        assert isinstance(broker, KeepsRuns) and active_runs(broker, 10) == []
        publisher.run("queued", key="k")
        with publisher.run("done"):
            pass
        with publisher.run("running") as run:
            run.write("a")
            found = {name: record.status for name, record in active_runs(broker, 10)}
            assert found == {"queued": "queued", "running": "running"}
            assert len(active_runs(broker, 1)) == 1
        assert [name for name, _ in active_runs(broker, 10)] == ["queued"]
