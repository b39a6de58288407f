"""Streams that watch who is present, in every store. The rows of hubs are stored here."""

from __future__ import annotations

import asyncio
import random
import typing as t

import pytest
from support.each_store import url as url
from support.hubs import Run
from support.item_hubs import types
from support.roster_hubs import RosterPage
from support.roster_hubs import RosterScene
from support.roster_hubs import run as run
from support.roster_hubs import run_with

from flask_push._event import event_id
from flask_push._event import Position
from flask_push._hub import roster_reads
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._sink import until


def test_a_page_gets_all_members_and_then_what_changes(run: Run) -> None:
    async def test(scene: RosterScene) -> None:
        scene.enter("r", "A.ada", "A.bob", "B.ada", info={"n": 1})
        scene.enter("r", "A", info=3)
        scene.exit("r", "A.bob")
        page = scene.watch("r")
        await scene.is_whole(page)
        events = ["push:joined", "push:count"]
        assert types(page.reader) == ["push:open", "push:items", *events, "push:whole"]
        opened, items, joined, _, whole = (event.json for event in page.reader.events)
        assert opened["watch"] == items["watch"] == whole["watch"] == ["r"]
        assert opened["channels"] == items["channels"] == whole["channels"] == ["a"]
        assert joined == {"channel": "r", "user": "ada", "info": {"n": 1}}
        assert page.counts == {"r": 3}
        scene.exit("r", "B.ada")
        scene.enter("r", "A.cyd", "B.cyd")
        scene.say("a", "event")
        await scene.knows(page, r=["ada", "cyd"])
        scene.enter("r", "B.ada", info={"n": 2})
        scene.enter("r", "B", info=4)
        scene.exit("r", "A.cyd", "B.cyd")
        await scene.until(page, lambda: page.look().told_of[-1:] == [("push:left", "cyd")])
        assert page.told_of[2:] == [
            *(("push:joined", "cyd"), ("push:joined", "ada")),
            *(("push:count", ""), ("push:left", "cyd")),
        ]
        assert page.members == {"r": {"ada": {"n": 2}}} and page.counts == {"r": 7}
        here = Position.parse(page.reader.last_id)
        assert page.reader.last_id == event_id(here, "r", "cyd")
        assert [data for _, data in page.events] == ["event"]
        assert page.told == page.whole == 1

    run(test)


def test_a_channel_where_nobody_is_begins_at_once(run: Run) -> None:
    async def test(scene: RosterScene) -> None:
        scene.enter("another", "A.ada")
        page = scene.watch("r", "s")
        await scene.is_whole(page)
        assert types(page.reader) == ["push:open", "push:items", "push:whole"]
        scene.enter("r", "A.ada")
        scene.enter("s", "A.bob")
        await scene.knows(page, r=["ada"], s=["bob"])

    run(test)


def test_an_apps_channel_of_the_same_name_is_another(run: Run) -> None:
    async def test(scene: RosterScene) -> None:
        scene.set("a", item="1")
        scene.enter("a", "A.ada")
        page = scene.watch("a")
        await scene.is_whole(page)
        await scene.has(page, item="1")
        await scene.knows(page, a=["ada"])
        plain = scene.page("a")
        await scene.is_whole(plain)
        scene.exit("a", "A.ada")
        scene.say("a", "event")
        await scene.knows(page)
        await plain.reader.receives("1", "event")
        assert not [kind for kind in types(plain.reader) if kind == "push:joined"]

    run(test)


def test_a_page_that_reconnects_gets_what_it_has_missed(run: Run) -> None:
    async def test(scene: RosterScene) -> None:
        scene.enter("r", "A.ada", "A.bob")
        page, other = scene.watch("r"), scene.watch("r")
        for each in page, other:
            await scene.is_whole(each)
            await scene.knows(each, r=["ada", "bob"])
        page.reader.sock.close()
        scene.exit("r", "A.ada")
        scene.enter("r", "B.cyd")
        await scene.knows(other, r=["bob", "cyd"])
        scene.watch_again(page, "r")
        await scene.knows(page, r=["bob", "cyd"])
        assert page.opened == "changes" and page.told == 1
        # The word is not valid for another channel.
        scene.watch_again(page, "s")
        await scene.is_whole(page, 2)
        assert page.opened == "all"

    run(test)


def test_members_are_read_again_when_events_are_missed(run: Run) -> None:
    async def test(scene: RosterScene) -> None:
        scene.enter("r", "A.ada")
        page, paced = scene.watch("r"), scene.watch("r", every=0.01)
        plain = scene.page("a", items=True)
        for each in page, paced, plain:
            await scene.is_whole(each)
        (here,) = scene.say("a", "1")
        await page.reader.receives("1")
        scene.hub.missed(Position.parse(here).number)
        for each in page, paced:
            await scene.is_whole(each, 2)
            await scene.knows(each, r=["ada"])
        scene.enter("r", "A.bob")
        scene.exit("r", "A.ada")
        scene.say("a", "2")
        for each in page, paced:
            await scene.knows(each, r=["bob"])
            await each.reader.receives("1", "2")
        await plain.reader.receives("1", "2")
        assert plain.told == 1

    run(test)


def test_a_new_epoch_of_the_store_has_its_own_members(run: Run) -> None:
    async def test(scene: RosterScene) -> None:
        scene.enter("r", "A.ada")
        page = scene.watch("r")
        await scene.is_whole(page)
        scene.begin_again()
        scene.enter("r", "A.bob")
        await page.reader.receives_a_gap()
        await scene.is_whole(page, 2)
        await scene.knows(page, **scene.present("r"))
        scene.enter("r", "A.cyd")
        await scene.knows(page, **scene.present("r"))
        assert "cyd" in page.members["r"]
        (gap,) = page.reader.gaps
        assert gap["channels"] == ["a"]

    # Otherwise the hub ends all streams, because it may not know all disconnects.
    run(test, disconnect=False)


@pytest.mark.parametrize("older", [False, True], ids=["same", "older"])
def test_another_hub_continues_with_the_members(run: Run, older: bool) -> None:
    async def test(scene: RosterScene) -> None:
        scene.enter("r", "A.ada", "A.bob", "B.bob")
        scene.enter("r", "B", info=5)
        page = scene.watch("r")
        await scene.is_whole(page)
        await until(lambda: scene.hub.whole)
        state = scene.hub.freeze()
        scene.exit("r", "A.ada", "A.bob")
        scene.say("a", "event")
        rosters = [] if older else state.rosters
        scene.hub = scene.make_hub(state._replace(rosters=rosters))
        await scene.knows(page, r=["bob"])
        await page.reader.receives("event")
        scene.enter("r", "C.cyd")
        await scene.knows(page, r=["bob", "cyd"])
        assert page.counts == {"r": 5}
        await scene.is_whole(page, 2 if older else 1)
        assert page.told == (2 if older else 1)

    run(test)


def test_a_hub_that_is_replaced_while_it_reads_members_loses_none(run: Run) -> None:
    async def test(scene: RosterScene) -> None:
        scene.enter("r", "A.ada")
        page = scene.watch("r")
        await until(lambda: scene.hub.whole)
        scene.replace()
        await scene.is_whole(page)
        await scene.knows(page, r=["ada"])

    run(test)


def test_many_channels_are_read_a_few_at_a_time(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster_reads, "_MAX_TOGETHER", 2)
    monkeypatch.setattr(roster_reads, "MAX_READS", 1)

    async def test(scene: RosterScene) -> None:
        names = [f"r{number}" for number in range(7)]
        for name in names:
            scene.enter(name, "A.ada")
        pages = [scene.watch(*names)] + [scene.watch(name) for name in names]
        for page in pages:
            await scene.is_whole(page)
        scene.hub.missed(scene.hub._log.end)
        assert len(scene.hub._log.rosters.partial) in (0, 7)
        for page in pages:
            await scene.is_whole(page, 2)
        await scene.knows(pages[0], **{name: ["ada"] for name in names})
        assert repr(scene.hub._roster_reads) == (
            "<RosterReads [0 reads, <Rosters [7 rosters, 0 partial]>]>"
        )
        assert scene.hub.status()["watched"] == 7

    run(test)


class Slow(MemoryBroker):
    """Its feed reads items when the test calls the answers."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[t.Callable[[], None]] = []

    def feed(self, *args: t.Any, **more: t.Any) -> t.Any:
        feed = super().feed(*args, **more)
        read = feed.read_items

        def later(*args: t.Any, **more: t.Any) -> None:
            self.answers.append(lambda: read(*args, **more))

        feed.read_items = later  # type: ignore[method-assign]
        return feed

    def answer(self) -> None:
        answers, self.answers = self.answers, []
        for answer in answers:
            answer()


def test_streams_wait_for_members_but_live_ones_do_not() -> None:
    broker = Slow()

    async def test(scene: RosterScene) -> None:
        scene.enter("r", "A.ada")
        page: RosterPage = scene.watch("r")
        await until(lambda: broker.answers)
        assert not page.reader.events
        broker.answer()
        await scene.is_whole(page)
        scene.hub.missed(scene.hub._log.end)
        await until(lambda: broker.answers)
        late: RosterPage = scene.watch("r")
        scene.enter("r", "A.bob")
        scene.say("a", "event")
        await page.reader.receives("event")
        await late.reader.until(lambda: "push:open" in types(late.reader))
        assert page.look().members == {"r": {"ada": 1}} and page.whole == 1
        assert late.look().whole == 0 and late.told == 0
        broker.answer()
        for each in page, late:
            await scene.knows(each, r=["ada", "bob"])
        await scene.is_whole(page, 2)
        await scene.is_whole(late)

    run_with(test, broker)


def test_nothing_is_left_of_a_stream_that_ends_before_its_members_are_there() -> None:
    broker = Slow()

    async def test(scene: RosterScene) -> None:
        scene.enter("r", "A.ada")
        page = scene.watch("r")
        await until(lambda: broker.answers)
        page.reader.sock.close()
        await until(lambda: not scene.hub._log.rosters)
        again = scene.watch("r")
        await until(lambda: len(broker.answers) == 2)
        broker.answer()
        await scene.is_whole(again)
        await scene.knows(again, r=["ada"])
        again.reader.sock.close()
        await until(lambda: not scene.hub._log.rosters)
        assert not scene.hub._log.rosters.partial and not scene.hub._feed.asked

    run_with(test, broker)


def test_a_page_of_another_epoch_is_read_again() -> None:
    broker = Slow()

    async def test(scene: RosterScene) -> None:
        scene.enter("r", "A.ada")
        page = scene.watch("r")
        await until(lambda: broker.answers)
        scene.begin_again()
        # The feed reads before it has noticed.
        broker.answer()
        await until(lambda: broker.answers)
        scene.enter("r", "A.bob")
        broker.answer()
        await scene.knows(page, **scene.present("r"))

    run_with(test, broker, disconnect=False)


@pytest.mark.parametrize("seed", range(3))
def test_pages_know_who_is_present_whatever_happens_meanwhile(run: Run, seed: int) -> None:
    chance = random.Random(seed)
    items = ["A.ada", "B.ada", "A.bob", "B.cyd", "A", "B"]

    async def step(scene: RosterScene, pages: list[RosterPage]) -> None:
        channel = chance.choice("rs")
        match chance.randrange(12):
            case 0:
                pages.append(scene.watch(channel, every=chance.choice([0, 0, 0.01])))
            case 1:
                pages.append(scene.watch("r", "s"))
            case 2 if pages:
                pages.pop(chance.randrange(len(pages))).reader.close()
            case 3 if type(scene.broker) is not MemoryBroker:
                # The feed in memory would say no more until the next event.
                scene.hub.missed(scene.hub._log.end)
            case 4 if scene.hub.whole:
                scene.replace(older=chance.random() < 0.3)
            case 5 | 6:
                scene.exit(channel, chance.choice(items))
            case 7:
                scene.say("a", "event")
            case 8:
                await asyncio.sleep(0.002)
            case _:
                scene.enter(channel, chance.choice(items), info=chance.randrange(9))

    async def test(scene: RosterScene) -> None:
        pages: list[RosterPage] = []
        for _ in range(150):
            await step(scene, pages)
            for page in pages:
                page.reader.read()
        pages.append(scene.watch("r", "s"))
        for page in pages:
            await scene.is_true(page)
            assert page.told == page.whole
        assert not scene.hub.failures

    run(test)
