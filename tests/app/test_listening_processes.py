"""Programs that listen, beside workers and a hub that is killed and replaced."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from support.hub_processes import opened
from support.hub_processes import replace
from support.listeners import in_thread
from support.redises import Redis
from support.servers import gunicorn
from support.servers import hubs
from support.servers import program
from support.servers import serve
from support.servers import Server
from support.servers import status
from support.servers import TESTS
from support.servers import the_hub
from support.servers import until

from flask_push import connect
from flask_push import Event
from flask_push import NotPublished
from flask_push import Publisher
from flask_push import PublishUncertain
from flask_push.client import Source

Listen = cabc.Callable[..., "Listening"]


class Listening:
    """A program that listens, and what it has got."""

    def __init__(self, path: Path, process: subprocess.Popen[t.Any]) -> None:
        self.path = path
        self.process = process

    @property
    def rows(self) -> list[list[str]]:
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    @property
    def is_begun(self) -> bool:
        return any(type == "push:whole" for _, _, type, *_ in self.rows)

    @property
    def data(self) -> list[str]:
        return [data for _, _, type, _, data, _ in self.rows if type == "message"]

    def read_data(self, count: int) -> list[str]:
        until(lambda: len(self.data) >= count)
        return self.data

    def has_end(self) -> bool:
        """Whether it has got the event that is published last."""
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - 400))
            return b'"end"' in file.read()

    @property
    def presence(self) -> list[tuple[str, str]]:
        """Who has joined and left."""
        found = [(type.removeprefix("push:"), item) for _, _, type, item, *_ in self.rows]
        return [(what, user) for what, user in found if what in ("joined", "left")]

    @property
    def gaps(self) -> int:
        return [type for _, _, type, *_ in self.rows].count("push:gap")


@pytest.fixture
def listen(tmp_path: Path) -> cabc.Iterator[Listen]:
    with contextlib.ExitStack() as stack:
        count = 0

        def listen(where: str, *channels: str, since: str = "", **env: str) -> Listening:
            nonlocal count
            count += 1
            path = tmp_path / f"listened-{count}"
            words = [sys.executable, "-m", "apps.listening", where, str(path), since]
            env = {**os.environ, "INSTANCE": str(tmp_path), **env}
            process = program([*words, *channels], cwd=TESTS, env=env)
            return Listening(path, stack.enter_context(process))

        yield listen


@pytest.fixture
def kept() -> int:
    """How many events of each channel are stored."""
    return 1000


@pytest.fixture(params=["sqlite", "redis"])
def server(
    request: pytest.FixtureRequest, kept: int, tmp_path: Path
) -> cabc.Iterator[Server]:
    with contextlib.ExitStack() as stack:
        options: dict[str, t.Any] = {"PUSH_KEEP": kept}
        if request.param == "redis":
            redis = stack.enter_context(Redis.started(tmp_path))
            options["PUSH_BROKER_URL"] = redis.url
        yield stack.enter_context(serve(gunicorn, tmp_path, "-w", "2", **options))


def environment(server: Server) -> dict[str, str]:
    return {name: server.env[name] for name in server.env if name.startswith("FLASK_")}


def store_of(server: Server, tmp_path: Path) -> str:
    url = json.loads(server.env.get("FLASK_PUSH_BROKER_URL", "null"))
    return url or f"sqlite://{tmp_path}/push-basic/push.db"


def test_a_program_uses_the_hub_of_the_workers_and_one_with_a_url_its_own(
    server: Server, listen: Listen, tmp_path: Path
) -> None:
    server.stream("a").opened()
    hub = the_hub(tmp_path)
    with_app = listen("apps.basic", "a", **environment(server))
    with_url = listen(store_of(server, tmp_path), "a")
    until(lambda: with_app.is_begun and with_url.is_begun)
    ids = [server.publish("a", str(n)) for n in range(50)]
    for listening in with_app, with_url:
        listening.read_data(50)
        rows = [row for row in listening.rows if row[2] == "message"]
        assert [row[0] for row in rows] == ids
        assert listening.gaps == 0
    assert hubs(tmp_path) == [hub]
    shown = status(tmp_path)
    assert (shown["streams"], shown["without_user"]) == (2, 1), "the browser and one more"


def test_a_program_without_a_hub_process_starts_none(
    listen: Listen, tmp_path: Path
) -> None:
    listening = listen("apps.basic", "a")
    until(lambda: listening.is_begun)
    publisher = Publisher(f"sqlite://{tmp_path}/push-basic/push.db")
    publisher.publish("a", "x")
    assert listening.read_data(1) == ["x"]
    publisher.close()
    assert hubs(tmp_path) == []


def begun(server: Server, listen: Listen, tmp_path: Path) -> list[Listening]:
    """A program with the app, and one with the URL of the store."""
    server.stream("a").opened()
    listenings = [listen("apps.basic", "a", "b", **environment(server))]
    listenings.append(listen(store_of(server, tmp_path), "a", "b"))
    until(lambda: all(listening.is_begun for listening in listenings))
    return listenings


def publish(server: Server, tmp_path: Path, deaths: int, calls: int, each: int) -> str:
    """Publish numbers while the hub is killed and replaced. Returns their channels."""
    publisher = Publisher(store_of(server, tmp_path), timeout=20)
    published = ""
    for n in range(deaths):
        before = the_hub(tmp_path)
        if n % 2:
            os.kill(before, signal.SIGKILL)
        else:
            replace(tmp_path)
        for _ in range(calls):
            start = len(published)
            published += "".join(random.choices("ab", k=each))
            new = enumerate(published[start:], start)
            publisher.publish_many(Event(channel, str(n)) for n, channel in new)
        # A killed hub may hold its lock until the worker gives up. Then a browser that
        # reconnects starts the next one.
        until(lambda: opened(server)).close()
        the_hub(tmp_path, but=before)
    publisher.close()
    return published


def test_nothing_is_missed_while_the_hub_is_killed_and_replaced(
    server: Server, listen: Listen, tmp_path: Path
) -> None:
    listenings = begun(server, listen, tmp_path)
    published = publish(server, tmp_path, deaths=8, calls=20, each=10)
    for listening in listenings:
        assert listening.read_data(len(published)) == list(map(str, range(len(published))))
        assert listening.gaps == 0


@pytest.mark.slow
@pytest.mark.parametrize("kept", [1000, 1_000_000])
def test_a_million_events_over_twenty_hubs_arrive_once_and_in_order_or_there_is_a_gap(
    server: Server, listen: Listen, kept: int, tmp_path: Path
) -> None:
    listenings = begun(server, listen, tmp_path)
    published = publish(server, tmp_path, deaths=20, calls=50, each=1000)
    server.publish("a", "end")
    for listening in listenings:
        until(listening.has_end, 600)
        judge(listening.rows, published)
        assert kept == 1000 or len(listening.data) == len(published) + 1, "there is no gap"


def judge(rows: list[list[str]], published: str) -> None:
    """Each event arrives once and in order, and what is left out comes after a gap of its
    channel.

    :param published: The channel of each number.
    """
    left = {name: [n for n, of in enumerate(published) if of == name] for name in "ab"}
    for numbers in left.values():
        numbers.reverse()
    may_skip = set[str]()
    for _, channel, type, _, data, _ in rows:
        if type == "push:gap":
            may_skip |= {*json.loads(data)["channels"]}
        elif type == "message" and data != "end":
            number = left[channel].pop()
            while number < int(data) and channel in may_skip:
                number = left[channel].pop()
            assert number == int(data)
            may_skip.discard(channel)
    assert all(not numbers or name in may_skip for name, numbers in left.items())


def test_a_program_that_was_killed_goes_on_at_its_position(
    server: Server, listen: Listen, tmp_path: Path
) -> None:
    first = listen("apps.basic", "a", **environment(server))
    until(lambda: first.is_begun)
    server.publish("a", *map(str, range(30)))
    until(lambda: len(first.data) > 3)
    first.process.kill()
    first.process.wait()
    server.publish("a", *map(str, range(30, 60)))
    rows = first.rows
    again = listen("apps.basic", "a", since=rows[-1][-1], **environment(server))
    until(lambda: len(first.data) + len(again.data) == 60)
    assert first.data + again.data == list(map(str, range(60)))
    assert again.gaps == 0


def test_a_program_waits_while_its_store_is_away(listen: Listen, tmp_path: Path) -> None:
    with Redis.started(tmp_path) as redis:
        publisher = Publisher(redis.url, timeout=1)
        since = publisher.position()
        redis.stop()
        early = listen(redis.url, "a")
        late = listen(redis.url, "a", since=since)
        with pytest.raises((NotPublished, PublishUncertain)):
            publisher.publish("a", "lost or not", key="once")
        redis.go_on()
        until(lambda: early.is_begun and late.is_begun)

        def is_published() -> bool:
            # For a second, a publisher asks a store no more that has not answered.
            with contextlib.suppress(NotPublished):
                publisher.publish("a", "lost or not", key="once")
                return True
            return False

        until(is_published)
        publisher.publish("a", "x")
        assert late.read_data(2) == ["lost or not", "x"]
        until(lambda: early.data[-1:] == ["x"])
        redis.kill()
        redis.start()
        until(lambda: early.gaps == late.gaps == 1, what="the store has lost all it had")
        publisher.publish("a", "y")
        until(lambda: early.data[-1] == late.data[-1] == "y")
        publisher.close()


def test_disconnect_does_not_end_what_a_program_listens_to(
    server: Server, listen: Listen, tmp_path: Path
) -> None:
    browser = server.stream("a").opened()
    listening = listen("apps.basic", "a", **environment(server))
    until(lambda: listening.is_begun)
    publisher = Publisher(store_of(server, tmp_path))
    publisher.disconnect(channel="a")
    browser.read_to_end()
    publisher.publish("a", "x")
    assert listening.read_data(1) == ["x"]
    publisher.close()


def test_programs_see_who_is_present_while_the_hub_is_killed_and_replaced(
    listen: Listen, tmp_path: Path
) -> None:
    def comes(user: str) -> Source:
        return connect(f"{server.url}/stream?user={user}&present=r&info=1").opened()

    def is_seen(what: str, user: str) -> bool:
        return all((what, user) in listening.presence for listening in listenings)

    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(Redis.started(tmp_path))
        config: dict[str, t.Any] = {"PUSH_BROKER_URL": redis.url}
        config |= {"PUSH_PRESENCE_GRACE": 1, "PUSH_RETRY": 0.5}
        # After six beats of another hub, one is dead.
        env = {"BEAT_SECONDS": "2"}
        server = stack.enter_context(
            serve(gunicorn, tmp_path, app="apps.present", env=env, **config)
        )
        ann = stack.enter_context(comes("ann"))
        # It reconnects for as long as it is read.
        in_thread(lambda: list(ann))
        listenings = [listen("apps.present", "@r", **environment(server))]
        listenings.append(listen(redis.url, "@r"))
        until(lambda: is_seen("joined", "ann"))
        with comes("ben"):
            until(lambda: is_seen("joined", "ben"))
        until(lambda: is_seen("left", "ben"))
        before = the_hub(tmp_path)
        replace(tmp_path)
        before = the_hub(tmp_path, but=before)
        stack.enter_context(comes("cyd"))
        until(lambda: is_seen("joined", "cyd"))
        os.kill(before, signal.SIGKILL)
        until(lambda: is_seen("left", "cyd"), 60)
        assert not any(("left", "ann") in each.presence for each in listenings)
        assert json.loads(server.get("/presence?channel=r"))["r"]["users"] == {"ann": "1"}
