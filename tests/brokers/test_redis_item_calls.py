"""The arguments of the scripts of items."""

from __future__ import annotations

import pytest

from flask_push import Event
from flask_push import Position
from flask_push.brokers import ItemChange
from flask_push.brokers import OwnChannel
from flask_push.brokers import Retention
from flask_push.brokers.redis import calls
from flask_push.brokers.redis.item_calls import Changes
from flask_push.brokers.redis.item_calls import ItemCalls
from flask_push.brokers.redis.item_calls import Sets
from flask_push.brokers.redis.scripts import Arg


@pytest.fixture
def store() -> calls.Store:
    store = calls.Store(calls.Names("shop", 3), None)
    assert store.is_another([b"", b"0", b"life1"])
    return store


def test_a_call_has_steps_of_events_and_single_changes() -> None:
    position = Position("abcde", 62)
    changes = Changes(
        [
            Event("a", "1"),
            Event("b", "2"),
            ItemChange("a", "x", "3", "t", 0.5, 7, owner="me", expect=str(position)),
            ItemChange("b", "x", None, expect=""),
            Event("a", "4", key="k"),
            ItemChange("a", "y", None, kind="own", due=True),
            ItemChange("a", "y", "", ttl=1e-9),
        ]
    )
    assert changes.channels == {("", "a"): 1, ("", "b"): 2, ("own", "a"): 3}
    steps, runs = changes.args()
    assert steps == [
        *("runs", 4),
        *("set", 1, "x", "3", "t", 500_000, 7, "me", "=62:abcde"),
        *("unset", 2, "x", "", "message", "", "", "", "="),
        *("runs", 3),
        *("due", 3, "y", "", "message", "", "", "", "-"),
        *("set", 1, "y", "", "message", 1, "", "", "-"),
    ]
    assert len(runs) == 7
    assert [change.item for change in changes.items] == ["x", "x", "y", "y"]


def test_sets_of_a_channel_that_have_only_data_are_one_step() -> None:
    changes = Changes(
        [
            ItemChange("a", "ä", "1"),
            ItemChange("a", "y", "é:"),
            # Another type, an item for the second time, and another channel.
            ItemChange("a", "z", "3", "t"),
            ItemChange("a", "z", "4", "t"),
            ItemChange("b", "z", "5", "t"),
            ItemChange("b", "u", "6", "t", version=1),
            ItemChange("b", "v", "", "t"),
        ]
    )
    steps, _ = changes.args()
    assert steps == [
        *("sets", 1, 2, "message", b"2 1,1 3", b"\xc3\xa4", b"y", b"1", b"\xc3\xa9:"),
        *("sets", 1, 1, "t", b"1 1", b"z", b"3"),
        *("sets", 1, 1, "t", b"1 1", b"z", b"4"),
        *("sets", 2, 1, "t", b"1 1", b"z", b"5"),
        *("set", 2, "u", "6", "t", "", 1, "", "-"),
        *("sets", 2, 1, "t", b"1 0", b"v", b""),
    ]
    assert [change.data for change in changes.items] == ["1", "é:", *"3456", ""]


def test_a_step_has_no_more_than_a_script_may_unpack() -> None:
    changes = Changes([ItemChange("a", str(n), "x") for n in range(calls.RUN_EVENTS + 1)])
    assert [len(step.items) for step in changes.steps if isinstance(step, Sets)] == [
        calls.RUN_EVENTS,
        1,
    ]
    large = "x" * (calls.RUN_BYTES + 1)
    assert len(Changes([ItemChange("a", item, large) for item in "xyz"]).steps) == 3


def test_each_change_has_its_position_of_the_reply() -> None:
    changes = Changes(
        [Event("a", "1"), Event("a", "2"), ItemChange("a", "x", "3"), Event("b", "4")]
    )
    assert changes.positions([b"abcde", b"10,=other:7,12"]) == [
        Position("abcde", 10),
        Position("abcde", 11),
        Position("other", 7),
        Position("abcde", 12),
    ]
    sets = Changes([ItemChange("a", "x", "1"), ItemChange("a", "y", "2")])
    assert sets.positions([b"abcde", b"=abcde:7,=abcde:9"]) == [
        Position("abcde", 7),
        Position("abcde", 9),
    ]
    assert sets.positions([b"abcde", b"+abcde:7"]) == [
        Position("abcde", 7),
        Position("abcde", 8),
    ]


def test_an_id_that_can_not_be_read_is_expected_of_no_row() -> None:
    (steps, _) = Changes([ItemChange("a", "x", "1", expect="forged")]).args()
    assert steps[-1] == "=0:"


def keys(args: list[Arg]) -> list[Arg]:
    """Those that not every script has."""
    count, *rest = args
    assert isinstance(count, int)
    return rest[2:count]


def test_all_keys_are_named(store: calls.Store) -> None:
    item_calls = ItemCalls(store, None)
    common = [f"{{shop}}:life1:{name}" for name in ("items", "deadlines", "owners")]
    rows = [f"{{shop}}:life1:{name}:own:a" for name in ("rows", "order", "unset")]
    changes = Changes([ItemChange("a", "x", "1", kind="own"), Event("b", "2")])
    log = ["{shop}:life1:log:b", b"{shop}:3:b"]
    called = item_calls.change(changes, calls.Caller(0))
    assert keys(called)[1:] == [*common, *rows, b"{shop}:3:\xffown:a", *log]
    assert keys(item_calls.read(["a"], 0, None, 9, "own", True)) == [*common, *rows]
    args = item_calls.rows("own", [("a", "x"), ("a", "y")])
    assert keys(args) == [*common, *rows]
    assert args[-6:] == [1, "a", 1, "x", 1, "y"]
    own, other = OwnChannel("own", "a"), OwnChannel("other", "ä")
    args = item_calls.join([own], [other], "epoch", 5)
    assert keys(args) == [b"{shop}:life1:log:\xffown:a", *common, *rows]
    assert args[-1] == b"\xffother:\xc3\xa4"


def test_bounds_are_sent_only_if_they_are_given(store: calls.Store) -> None:
    new = Retention()
    given, not_given = ItemCalls(store, Retention(items=5)), ItemCalls(store, None)
    usual = f"{new.items} {new.item_bytes} 1000 100000 67108864 run 1000000 268435456"
    assert given.due(7)[-2:] == [f"5 {new.item_bytes} {usual}", 7]
    assert not_given.due(7)[-2:] == [f"- - {usual}", 7]
