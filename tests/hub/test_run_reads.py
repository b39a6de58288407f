"""Reads of runs: one for all streams of the same run and format, and a few streams in one
pass of the loop."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t

import pytest
from support.followed_runs import data
from support.followed_runs import FollowReader
from support.followed_runs import FollowScene
from support.followed_runs import run_with
from support.followed_runs import StoredRun
from support.held_reads import HeldBroker

from flask_push._hub import shared_reads
from flask_push._hub.run_reads import RunReads
from flask_push.brokers import Broker
from flask_push.testing._sink import until

#: So much that a page has a few of them.
TEXTS = [str(n) * 1000 for n in range(10)]


def reads(scene: FollowScene) -> RunReads:
    return scene.hub._streams.run_reads


def is_idle(scene: FollowScene) -> bool:
    return repr(reads(scene)) == "<RunReads [0 reads, 0 readers queued]>"


def written(scene: FollowScene, *texts: str) -> StoredRun:
    run = scene.begin()
    for text in texts:
        run.write(text)
    return run


async def all_have(readers: list[FollowReader], *texts: str) -> None:
    for reader in readers:
        await reader.until(lambda r=reader: data(r) == [*texts])  # type: ignore[misc]


async def answered(
    broker: HeldBroker, reader: FollowReader, condition: cabc.Callable[..., bool]
) -> None:
    """Hand pages over until a condition is true."""

    def answer() -> bool:
        broker.answer_all()
        return condition()

    await reader.until(answer)


def run(test: t.Any, broker: HeldBroker, **options: t.Any) -> None:
    run_with(test, t.cast(Broker, broker), **options)


@pytest.fixture
def broker() -> HeldBroker:
    return HeldBroker(limit=3000)


def test_streams_of_the_same_run_share_a_read(broker: HeldBroker) -> None:
    async def test(scene: FollowScene) -> None:
        one = written(scene, "1", "2")
        readers = [scene.follow(one, "openai") for _ in range(5)]
        await broker.is_asked()
        # One that comes during the read shares it.
        readers.append(scene.follow(one, "openai"))
        await until(lambda: all(c.begun for c in scene.connections))
        assert repr(reads(scene)) == "<RunReads [1 reads, 0 readers queued]>"
        broker.answer()
        await all_have(readers, "1", "2")
        # The log has the rows now.
        await all_have([scene.follow(one, "openai")], "1", "2")
        assert broker.answered == 1 and is_idle(scene)
        # Another format has frames of its own.
        other = scene.follow(one)
        await broker.is_asked()
        broker.answer()
        await other.receives("1", "2")

    run(test, broker)


def test_a_read_goes_on_until_all_rows_are_there(broker: HeldBroker) -> None:
    async def test(scene: FollowScene) -> None:
        one = written(scene, *TEXTS)
        first = scene.follow(one, "ag-ui")
        await answered(broker, first, lambda: data(first) == TEXTS)
        assert broker.answered > 2 and is_idle(scene)
        one.end()
        # The last words of this format depend on the event before them.
        await answered(broker, first, lambda: first.ended)
        assert first.is_whole and data(first) == TEXTS

    run(test, broker)


def test_streams_read_on_from_the_store_if_the_log_may_keep_nothing(
    broker: HeldBroker,
) -> None:
    async def test(scene: FollowScene) -> None:
        one = written(scene, *TEXTS)
        readers = [scene.follow(one), scene.follow(one, "openai")]
        for n, reader in enumerate(readers):
            await answered(broker, reader, lambda r=reader, n=n: len(data(r)) == 10 + n)
            one.write("more")
        one.end()
        for reader in readers:
            await answered(broker, reader, lambda r=reader: r.ended)
            assert data(reader) == [*TEXTS, "more", "more"]

    run(test, broker, log_bytes=0)


def test_a_few_streams_continue_in_one_pass_of_the_loop(
    broker: HeldBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_reads, "_READERS_PER_PASS", 3)

    async def test(scene: FollowScene) -> None:
        one = written(scene, "1")
        readers = [scene.follow(one, "openai") for _ in range(8)]
        await broker.is_asked()
        await until(lambda: all(c.begun for c in scene.connections))
        broker.answer()
        assert repr(reads(scene)) == "<RunReads [0 reads, 5 readers queued]>"
        # No other page is read while so many have got theirs, and have not continued.
        page = scene.follow(one)
        assert repr(reads(scene)) == "<RunReads [1 reads, 5 readers queued]>"
        assert not broker.asked
        await all_have(readers, "1")
        assert broker.answered == 1
        await answered(broker, page, lambda: page.data == ["1"])
        assert is_idle(scene)

    run(test, broker)


def test_streams_that_end_while_they_wait_are_forgotten(
    broker: HeldBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_reads, "_READERS_PER_PASS", 1)
    monkeypatch.setattr(shared_reads, "MAX_READS", 1)

    async def test(scene: FollowScene) -> None:
        one, other = written(scene, "1"), scene.begin("b")
        asks = scene.follow(one, "openai")
        await broker.is_asked()
        # Its channel has to wait until the first read is over.
        waits = scene.follow(other, "openai")
        await until(lambda: all(c.begun for c in scene.connections))
        for reader in asks, waits:
            reader.close()
        await until(lambda: not scene.connections)
        broker.answer()
        assert is_idle(scene) and not broker.asked
        queued = [scene.follow(one, "openai") for _ in range(3)]
        await broker.is_asked()
        await until(lambda: all(c.begun for c in scene.connections))
        broker.answer()
        queued[2].close()
        await all_have(queued[:2], "1")
        await until(lambda: len(scene.connections) == 2)
        assert is_idle(scene) and scene.hub.failures == 0

    run(test, broker)


def test_a_page_of_another_epoch_is_read_again(broker: HeldBroker) -> None:
    async def test(scene: FollowScene) -> None:
        one = written(scene, "1")
        reader = scene.follow(one, "openai")
        await broker.is_asked()
        page, callback = broker.asked.pop(0)
        callback(page._replace(epoch="older"))
        await broker.is_asked()
        broker.answer()
        await all_have([reader], "1")

    run(test, broker)


def test_a_stream_whose_page_is_of_no_use_waits_for_the_next_turn(
    broker: HeldBroker,
) -> None:
    async def test(scene: FollowScene) -> None:
        one = written(scene, "1")
        reader = scene.follow(one, "openai")
        await broker.is_asked()
        page, callback = broker.asked.pop(0)
        # Another copy of the store has answered, which is behind.
        callback(page._replace(rows=[], reach=page.after, end=page.after))
        assert not broker.asked and is_idle(scene)
        scene.say("a", "moves the log's end")
        await broker.is_asked()
        broker.answer()
        await all_have([reader], "1")

    run(test, broker)


def test_a_stream_waits_for_the_log_if_the_store_is_ahead(broker: HeldBroker) -> None:
    async def test(scene: FollowScene) -> None:
        one = written(scene, "1")
        reader = scene.follow(one, after=broker._last + 10**9)
        await until(lambda: scene.connections[0].begun)
        await asyncio.sleep(0)
        assert not broker.asked and is_idle(scene)
        reader.close()

    run(test, broker)
