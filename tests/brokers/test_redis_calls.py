"""The arguments of the scripts, and what this process learns of the store from replies."""

from __future__ import annotations

import itertools
import os
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_push import Event
from flask_push import Position
from flask_push.brokers import OwnChannel
from flask_push.brokers import Retention
from flask_push.brokers.redis import calls
from flask_push.brokers.redis.calls import Callers
from flask_push.brokers.redis.calls import Names
from flask_push.brokers.redis.calls import Runs
from flask_push.brokers.redis.calls import Store

NAMES = Names("push", 3)

events = st.lists(
    st.builds(
        Event,
        st.sampled_from("ab"),
        st.text("xü", max_size=5),
        key=st.sampled_from([None, None, "k", "j"]),
        store=st.booleans(),
    ),
    max_size=30,
)


def in_runs(args: list[t.Any]) -> list[tuple[bool, str | None, list[bytes]]]:
    """The runs as a script reads them: whether it stores them, a key, and events."""
    found, rest = [], list(args)
    while rest:
        size = rest.pop(0)
        has_key = size in ("0", "-0")
        key = rest.pop(0) if has_key else None
        count = 1 if has_key else abs(int(size))
        found.append((not size.startswith("-"), key, rest[:count]))
        del rest[:count]
    return found


def body(event: Event) -> bytes:
    data = event.data.encode()
    return b"7:%d:message%b" % (len(data), data)


@given(events)
def test_a_script_reads_all_events_in_their_order(events: list[Event]) -> None:
    runs = in_runs(Runs(events).args)
    found = [(store, key, each) for store, key, run in runs for each in run]
    assert found == [
        (e.store, None if e.key is None else f"1:{e.channel}{e.key}", body(e))
        for e in events
    ]


@given(events)
def test_neighbours_without_a_key_are_in_one_run(events: list[Event]) -> None:
    def of(event: Event) -> tuple[object, ...]:
        own = id(event) if event.key is not None else None
        return event.channel, event.store, own

    # An event that is given twice is twice a run of its own.
    events = [Event(e.channel, e.data, key=e.key, store=e.store) for e in events]
    expected = [len(list(group)) for _, group in itertools.groupby(events, of)]
    assert [len(run) for _, _, run in in_runs(Runs(events).args)] == expected


def test_a_run_has_a_bounded_number_of_events_and_bytes() -> None:
    many = Runs([Event("a", "")] * 2500)
    assert [len(run) for _, _, run in in_runs(many.args)] == [1000, 1000, 500]
    large = Runs([Event("a", "x" * 30_000)] * 5 + [Event("a", "x" * 100_000)] * 2)
    assert [len(run) for _, _, run in in_runs(large.args)] == [2, 2, 1, 1, 1]


@given(events)
def test_a_run_names_its_log_its_channel_and_the_keys_that_it_may_need(
    events: list[Event],
) -> None:
    runs = Runs(events)
    keys: list[t.Any] = runs.keys(NAMES, "life")
    for _, key, run in in_runs(runs.args):
        log, channel, *keys = keys
        assert log in ("{push}:life:log:a", "{push}:life:log:b")
        assert channel == b"{push}:3:" + log[-1].encode()
        if key is not None:
            assert keys.pop(0) == "{push}:life:keys"
        assert run
    assert not keys


def test_the_position_of_each_event_follows_from_the_number_of_its_run() -> None:
    events = [
        *(Event("a", "1"), Event("a", "2"), Event("b", "3")),
        *(Event("a", "passing", store=False), Event("a", "passing", store=False)),
        *(Event("a", "known", key="k"), Event("a", "4")),
    ]
    # The second run follows the first; the key was seen before.
    reply = [b"abcde", b"100,,102,7,103"]
    numbers = [100, 101, 102, 102, 102, 7, 103]
    assert Runs(events).positions(reply) == [Position("abcde", n) for n in numbers]
    with pytest.raises(ValueError):
        Runs(events).positions([b"abcde", b"100,101"])


def test_the_keys_of_a_store_share_one_hash_tag() -> None:
    assert NAMES.key("life", "log", "ü") == "{push}:life:log:ü"
    # The number of the database keeps apart what is published in two of them.
    assert NAMES.channel("ü") == "{push}:3:ü".encode()
    own = OwnChannel("own", "ü")
    part = NAMES.channel(own).removeprefix(b"{push}:3:")
    assert part == b"\xffown:\xc3\xbc" and isinstance(calls.own_name(part), OwnChannel)
    assert calls.own_name(part) == own


# Callers.


def test_a_caller_counts_its_calls_and_makes_one_at_a_time() -> None:
    callers = Callers()
    first = callers.take()
    second = callers.take()
    assert first.name != second.name
    assert (first.count, second.count) == (1, 1)
    callers.give_back(first)
    assert callers.take() is first and first.count == 2


def test_a_caller_gets_another_name_before_the_store_forgets_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "CALLER_SECONDS", -1)
    callers = Callers()
    first = callers.take()
    callers.give_back(first)
    second = callers.take()
    assert second.name != first.name and second.count == 1


def test_idle_callers_are_bounded() -> None:
    callers = Callers()
    taken = [callers.take() for _ in range(100)]
    for caller in taken:
        callers.give_back(caller)
    again = {callers.take().name for _ in range(100)}
    assert len(again & {caller.name for caller in taken}) == 64


def test_a_child_of_a_fork_takes_no_caller_of_its_parent() -> None:
    callers = Callers()
    callers.give_back(mine := callers.take())
    child = os.fork()
    if child == 0:
        try:
            os._exit(callers.take().name == mine.name)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert callers.take() is mine


# The store.


def words_of(args: list[t.Any]) -> list[str]:
    """The first argument behind the keys."""
    return str(args[1 + args[0]]).split()


def test_the_arguments_begin_with_the_number_of_keys() -> None:
    store = Store(NAMES, None)
    args = store.read(["a", "b"], 5, 0, 1000)
    assert args[:5] == [
        *(4, "{push}:store", "{push}::heads", "{push}::log:a", "{push}::log:b"),
    ]
    assert args[6:] == ["", 5, 0, 1000, 0]
    assert store.read([], None, 7, 1000)[4:] == ["", "", 7, 1000, 0]
    assert store.prune(["a"])[:5] == [
        *(4, "{push}:store", "{push}::heads", "{push}::keys", "{push}::log:a"),
    ]
    runs = Runs([Event("a", "x")])
    caller = Callers().take()
    args = store.publish(runs, caller)
    assert args[3:6] == [f"{{push}}::call:{caller.name}", "{push}::log:a", b"{push}:3:a"]
    assert args[7:] == ["", 1, *runs.args]


def test_arguments_are_of_one_life_when_another_thread_learns_of_one_meanwhile() -> None:
    store = Store(NAMES, None)
    lives = [b"first", b"second"]

    def make() -> list[t.Any]:
        keys: list[t.Any] = [store.key("log", "a")]
        if lives:
            assert store.is_another([b"", b"", lives.pop(0)])
        return store.args(keys, [])

    args = store.in_one_life(make)
    keys = ["{push}:store", "{push}:second:heads", "{push}:second:log:a"]
    assert args[1:4] == keys and args[5:] == ["second"]


def test_the_store_keeps_as_much_as_it_kept_unless_it_is_told() -> None:
    words = words_of(Store(NAMES, None).read([], 0, 0, 0))
    assert words[4:7] == ["-", "-", "-"]
    own = Retention(age=1.5, count=7, bytes=9)
    words = words_of(Store(NAMES, own).read([], 0, 0, 0))
    assert words[4:7] == ["1500000", "7", "9"]
    # For a store that begins now.
    assert words[7:10] == ["86400000000", "1000", "268435456"]


def test_a_hub_that_joins_names_the_position_up_to_which_it_has_everything() -> None:
    store = Store(NAMES, None)
    assert words_of(store.join(["a"], "abcde", 7))[1:4] == ["abcde", "7", "1"]
    assert words_of(store.join(["a"]))[1:4] == ["-", "0", "1"]
    assert words_of(store.read(["a"], 0, 0, 0))[1:4] == ["-", "0", "0"]


def test_a_script_that_is_called_with_another_life_returns_the_right_one() -> None:
    store = Store(NAMES, None)
    assert store.is_another([None, b"", b"second"])
    assert store.read(["a"], 0, 0, 0)[2:4] == ["{push}:second:heads", "{push}:second:log:a"]
    assert not store.is_another([b"abcde", b"1", b""])
    assert store.read([], 0, 0, 0)[2] == "{push}:second:heads"


class Boot:
    """The time since boot, as the test sets it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000
        monkeypatch.setattr(calls, "since_boot", lambda: self.now)


def time_of(store: Store) -> str:
    return words_of(store.read([], 0, 0, 0))[10]


def learn(store: Store, time: bytes) -> None:
    assert not store.is_another([b"abcde", b"1", b"", time])


def test_the_time_that_a_store_has_told_is_counted_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    boot = Boot(monkeypatch)
    store = Store(NAMES, None)
    assert time_of(store) == "-"
    learn(store, b"5000")
    assert time_of(store) == "5000"
    boot.now += 300
    assert time_of(store) == "5300"
    # Only some replies end with a time.
    assert not store.is_another([b"abcde", b"1", b"9999"])
    assert time_of(store) == "5300"


def test_a_time_in_doubt_is_believed_when_it_has_gone_on_for_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    boot = Boot(monkeypatch)
    store = Store(NAMES, None)
    learn(store, b"5000")
    learn(store, b"?900000000")
    assert time_of(store) == "5000"
    boot.now += 59_000_000
    learn(store, b"?959000000")
    assert time_of(store) == "59005000"
    # It jumps again, so the minute begins again.
    learn(store, b"?1")
    boot.now += 59_000_000
    learn(store, b"?59000001")
    assert time_of(store) == "118005000"
    boot.now += 1_000_000
    learn(store, b"?60000001")
    assert time_of(store) == "60000001"
