"""Tests of brokers that keep runs.

::

    class TestMyBroker(RunsContract, ItemsContract, BrokerContract): ...
"""

from __future__ import annotations

import random
import threading
import typing as t

from .._event import Event
from .._event import OwnChannel
from .._event import Position
from ..brokers import Conflict
from ..brokers import ItemChange
from ..brokers import Retention
from ..brokers.items import bounds
from ..brokers.items import KeepsItems
from ..brokers.runs import KeepsRuns
from ..brokers.runs import RUN
from ._item_judge import Both
from ._item_judge import numbers_of
from ._item_judge import SOON
from ._item_sink import ItemRecordingSink
from ._open import Contract
from ._sink import RecordingSink
from ._sink import until

OWN = OwnChannel(RUN, "a")


class AllThree(KeepsRuns, Both, t.Protocol): ...


def row(item: str, data: str | None = "x", **more: t.Any) -> ItemChange:
    """A change of an item of a run's channel, if `more` names no other."""
    return ItemChange(**{"channel": "a", "item": item, "data": data, "kind": RUN, **more})


def is_as(item: str, position: Position) -> ItemChange:
    """Stores nothing, but expects the row."""
    return row(item, None, due=True, expect=str(position))


class RunsContract(Contract):
    """Inherit it beside :class:`ItemsContract` if your broker is a :class:`.KeepsRuns`."""

    def open_runs(self, retention: Retention | None = None) -> AllThree:
        broker = self.open(retention)
        assert isinstance(broker, KeepsRuns)
        return t.cast(AllThree, broker)

    # Single rows.

    def test_single_rows_are_found_by_their_names(self) -> None:
        broker = self.open_runs()
        names = ["now", "ä.:\n1", "1.1.2", "1.1.3"]
        changes = [row(name, f"data of {name}") for name in names]
        changes[0] = row("now", "{}", version=2**60, owner="me:", type="t")
        positions = broker.change(changes)
        (gone,) = broker.change([row("1.1.3", None)])
        broker.change([row("now", "no", kind=""), row("now", "no", kind="own")])
        broker.change([row("now", "no", channel="b")])
        (last,) = broker.publish([Event("a", "x")])
        page = broker.find("a", ["1.1.2", "now", "1.1.3", "none", "now"], kind=RUN)
        assert [each.position for each in page.rows] == [positions[0], positions[2]]
        (now, other), horizons = page.rows, broker.read_items("a", kind=RUN).horizons
        assert now[1:] == ("a", "now", "t", b"{}", 2**60, "me:")
        assert other[1:] == ("a", "1.1.2", "message", b"data of 1.1.2", None, "")
        assert (page.after, page.reach, page.end) == (0, last.number, last.number)
        assert (page.epoch, page.horizons) == (gone.epoch, horizons)
        (odd,) = broker.find("a", names[1:2], kind=RUN).rows
        assert odd.item == names[1]
        assert broker.find("none", names, kind=RUN).rows == []
        assert broker.find("a", [], kind=RUN).rows == []
        assert [each.data for each in broker.find("a", ["now"]).rows] == [b"no"]
        broker.close()

    def test_a_row_that_is_due_is_found(self) -> None:
        broker = self.open_runs()
        (position,) = broker.change([row("i", ttl=SOON)])
        self.wait_until_due(broker)
        assert [each.position for each in broker.find("a", ["i"], kind=RUN).rows] == [
            position
        ]
        broker.close()

    def wait_until_due(self, broker: KeepsItems) -> None:
        pause = threading.Event()
        while not broker.due():
            pause.wait(SOON)

    def test_many_rows_are_found_at_once(self) -> None:
        broker = self.open_runs()
        names = [f"i{n}" for n in range(150)]
        positions = broker.change([row(name, name) for name in names])
        page = broker.find("a", names[::-1], kind=RUN)
        assert [each.position for each in page.rows] == positions
        assert [each.data.decode() for each in page.rows] == names
        broker.close()

    # The fence.

    def test_an_expectation_of_a_row_that_is_not_changed_stores_nothing(self) -> None:
        broker = self.open_runs()
        now, first = broker.change(
            [row("now", "1", expect="", version=1, owner="p"), row("1.1.0", expect="")]
        )
        end = broker.read([], after=0).end
        same = broker.change([is_as("now", now), is_as("1.1.0", first)])
        assert broker.read([], after=0).end == end == same[-1].number
        (second,) = broker.change(
            [is_as("now", now), is_as("1.1.0", first), row("1.1.1", expect="")]
        )[2:]
        assert second.number > end
        page = broker.read_items(["a"], kind=RUN)
        assert [each.position for each in page.rows] == [now, first, second]
        assert broker.owned("p", kind=RUN)[0].version == 1
        broker.close()

    def test_a_holder_stores_nothing_that_it_may_not(self) -> None:
        broker = self.open_runs()
        now, first = broker.change([row("now", "1", version=1), row("1.1.0")])
        write = [is_as("now", now), is_as("1.1.0", first), row("1.1.1", expect="")]
        second = broker.change(write)[2]

        def refused(*changes: ItemChange) -> None:
            before = broker.read_items(["a"], kind=RUN)
            try:
                broker.change(changes)
            except Conflict:
                assert broker.read_items(["a"], kind=RUN) == before
            else:
                raise AssertionError(f"{changes!r} was not refused")

        # The same again; and after an event that the store does not have.
        refused(*write)
        lost = Position(first.epoch, first.number + 1)
        refused(is_as("now", now), is_as("1.1.0", lost), row("1.1.2", expect=""))
        refused(is_as("now", now), is_as("1.1.7", second), row("1.1.8", expect=""))
        # Another process has changed the record.
        broker.change([row("now", "2", version=2, expect=str(now)), row("1.1.t2")])
        refused(is_as("now", now), is_as("1.1.1", second), row("1.1.2", expect=""))
        refused(row("now", "3", version=3, expect=str(now)))
        broker.close()

    def test_of_two_processes_that_end_a_run_one_does(self) -> None:
        broker = self.open_runs()
        (now,) = broker.change([row("now", "running", version=1)])
        brokers = [broker, self.open_runs()] if self.shared else [broker, broker]
        go, ended = threading.Barrier(8), []

        def end(n: int) -> None:
            go.wait()
            how = row("now", f"{n}", version=2, expect=str(now))
            try:
                brokers[n % 2].change([how, row(f"1.1.t{n}", f"{n}")])
            except Conflict:
                return
            ended.append(n)

        threads = [threading.Thread(target=end, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        page = broker.read_items(["a"], kind=RUN)
        assert [each.data.decode() for each in page.rows] == [f"{ended[0]}"] * 2
        assert len(ended) == 1
        for each in brokers:
            each.close()

    # Forgetting.

    def test_the_oldest_rows_are_forgotten_up_to_a_number(self) -> None:
        broker = self.open_runs()
        positions = broker.change([row(f"i{n}") for n in range(6)])
        before = broker.read_items(["a"], kind=RUN)
        numbers = numbers_of(positions)
        assert broker.forget("a", numbers[0] - 1, kind=RUN) is False
        page = broker.read_items(["a"], kind=RUN)
        assert (page.rows, page.horizons) == (before.rows, before.horizons)
        assert broker.forget("a", numbers[2], kind=RUN) is False
        for _ in range(2):
            page = broker.read_items(["a"], kind=RUN)
            assert [each.position for each in page.rows] == positions[3:]
            assert page.horizons == {"a": numbers[2]}
            assert broker.forget("a", numbers[2], kind=RUN) is False
        assert broker.forget("none", numbers[5], kind=RUN) is False
        # No unset is left of them: they could be set as if they had never been.
        assert not broker.find("a", ["i0", "i1", "i2"], kind=RUN).rows
        (again,) = broker.change([row("i0", expect="", version=0)])
        page = broker.read_items(["a"], kind=RUN)
        assert [each.position for each in page.rows] == [*positions[3:], again]
        broker.close()

    def test_only_the_channel_of_this_kind_loses_rows(self) -> None:
        broker = self.open_runs()
        others = [{"kind": ""}, {"kind": "own"}, {"channel": "b"}, {"channel": "aa"}]
        for other in others:
            broker.change([row("i", "kept", **other)])
        (last,) = broker.change([row("i", "gone")])
        before = {k: broker.read_items(["a", "b", "aa"], kind=k) for k in ("", "own")}
        assert broker.forget("a", last.number, kind=RUN) is False
        for kind, page in before.items():
            now = broker.read_items(["a", "b", "aa"], kind=kind)
            assert (now.rows, now.horizons) == (page.rows, page.horizons)
        assert len(broker.read_items(["a", "b", "aa"], kind=RUN).rows) == 2
        for wrong in "", "RUN", "x" * 33:
            try:
                broker.forget("a", last.number, kind=wrong)
            except ValueError:
                continue
            raise AssertionError(f"The kind {wrong!r} was not refused")
        broker.close()

    def test_so_many_rows_are_forgotten_at_once(self) -> None:
        broker = self.open_runs()
        numbers = numbers_of(broker.change([row(f"i{n}") for n in range(10)]))
        left = [10, 7, 4, 1]
        for n, more in zip(left, (True, True, False), strict=False):
            assert len(broker.read_items(["a"], kind=RUN).rows) == n
            assert broker.forget("a", numbers[8], kind=RUN, limit=3) is more
            page = broker.read_items(["a"], kind=RUN)
            assert page.horizons == {"a": numbers[12 - n]}
        assert [each.number for each in page.rows] == numbers[9:]
        broker.close()

    def test_deadlines_and_owners_are_forgotten_with_their_rows(self) -> None:
        broker = self.open_runs()
        broker.change([row("i", ttl=SOON), row("j", owner="me", ttl=600), row("k")])
        (last,) = broker.change([row("k", None)])
        later = broker.change([row("l", owner="me"), row("m", ttl=SOON, channel="b")])
        assert broker.forget("a", last.number, kind=RUN) is False
        assert [each.position for each in broker.owned("me", kind=RUN)] == later[:1]
        self.wait_until_due(broker)
        assert [(each.channel, each.item) for each in broker.due()] == [("b", "m")]
        broker.close()

    def test_a_channel_of_which_all_is_forgotten_keeps_its_horizon(self) -> None:
        broker = self.open_runs()
        numbers = numbers_of(broker.change([row(f"i{n}") for n in range(3)]))
        assert broker.forget("a", numbers[2], kind=RUN) is False
        page = broker.read_items(["a"], kind=RUN)
        assert page.rows == [] and page.horizons["a"] >= numbers[2]
        assert broker.forget("a", numbers[2], kind=RUN) is False
        (again,) = broker.change([row("i0", expect="")])
        page = broker.read_items(["a"], kind=RUN)
        assert [each.position for each in page.rows] == [again]
        assert numbers[2] <= page.horizons["a"] < again.number
        broker.close()

    def test_rows_that_are_forgotten_count_for_no_bound(self) -> None:
        broker = self.open_runs()
        _, most = bounds("own", Retention())
        text = "x" * (most // 30)
        for _ in range(3):
            rows = [row(f"i{n}", text, kind="own") for n in range(11)]
            positions = broker.change(rows)
            broker.forget("a", positions[-1].number, kind="own")
        broker.change([row("i", kind="own")])
        assert len(broker.read_items(["a"], kind="own").rows) == 1
        broker.close()

    def test_any_rows_are_forgotten_as_a_list_would(self) -> None:
        broker = self.open_runs()
        rng = random.Random(5)
        rows: dict[str, tuple[int, str]] = {}
        horizon, last = broker.read_items(["a"], kind=RUN).horizons["a"], 0
        for _ in range(200):
            if rng.random() < 0.3 and last:
                upto = rng.choice([last, *(n for n, _ in rows.values()), last - 1])
                limit = rng.choice([1, 2, 100])
                gone = sorted((n, i) for i, (n, _) in rows.items() if n <= upto)
                assert broker.forget("a", upto, kind=RUN, limit=limit) is (
                    len(gone) > limit
                )
                for number, item in gone[:limit]:
                    horizon = number
                    del rows[item]
            else:
                name, owner = rng.choice("ijklmnop"), rng.choice(["", "me"])
                about: dict[str, t.Any] = {"owner": owner, "ttl": rng.choice([None, 600])}
                (position,) = broker.change([row(name, f"{rng.random()}", **about)])
                last = position.number
                rows.pop(name, None)
                rows[name] = last, owner
            page = broker.read_items(["a"], kind=RUN)
            living = [(each.item, (each.number, each.owner)) for each in page.rows]
            assert living == list(rows.items())
            if rows:
                assert page.horizons == {"a": horizon}
            owned = [each.item for each in broker.owned("me", kind=RUN)]
            assert owned == [item for item, (_, owner) in rows.items() if owner]
        broker.close()

    # Feeds.

    def test_a_feed_gives_the_horizon_of_rows_that_were_forgotten(self) -> None:
        async def test(broker: AllThree, hub: ItemRecordingSink) -> None:
            await hub.watch(OWN)
            first, second, third = broker.change([row("i"), row("j"), row("k")])
            await until(lambda: hub.end >= third.number)
            broker.forget("a", second.number, kind=RUN)
            (last,) = broker.change([row("l")])
            await until(lambda: hub.end >= last.number)
            assert hub.known[OWN] == second.number
            known = [given[OWN] for end, given in hub.ends if end >= last.number]
            assert set(known) == {second.number}
            # No event says that they are gone.
            assert [item for item, *_ in hub.items_of(OWN)] == ["i", "j", "k", "l"]
            page = await hub.read_items(OWN, after=first.number)
            assert [each.item for each in page.rows] == ["k", "l"]
            assert page.horizons == {OWN: second.number}
            assert {each.channel for each in page.rows} == {OWN}

        self._run_with_feed(test)

    def test_a_feed_that_begins_has_the_horizon_of_what_was_forgotten(self) -> None:
        async def test(broker: AllThree, hub: ItemRecordingSink) -> None:
            first, _ = broker.change([row("i"), row("j")])
            broker.forget("a", first.number, kind=RUN)
            await hub.watch(OWN)
            assert hub.known[OWN] == first.number

        self._run_with_feed(test)

    def _run_with_feed(self, test: t.Any) -> None:
        async def runs(broker: t.Any, hub: RecordingSink) -> None:
            await test(broker, hub)

        self.run(runs, sink=ItemRecordingSink)
