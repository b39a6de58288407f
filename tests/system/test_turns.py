"""Waiting in turn, in threads and in greenlets."""

from __future__ import annotations

import collections.abc as cabc
import signal
import subprocess
import sys
import threading
import time
import typing as t

import pytest
from support.servers import TESTS
from support.servers import until
from support.threads import together

from flask_push._system import turns
from flask_push._system.turns import Places
from flask_push._system.turns import shared_lock
from flask_push._system.turns import wait_again


@pytest.fixture
def never_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that waits goes on only if it is woken."""
    monkeypatch.setattr(turns, "_LOOK", 1000.0)


def wait_in_threads(
    count: int, places: Places[str], use: cabc.Callable[[int], object]
) -> list[threading.Thread]:
    """Callers that wait for a place, one behind the other."""

    def wait(number: int) -> None:
        place = list[t.Any]()
        assert places.take(place, 60)
        use(number)
        places.give_back(place)

    threads = [threading.Thread(target=wait, args=(n,)) for n in range(count)]
    for thread in threads:
        before = len(places.turns._waiting)
        thread.start()
        until(lambda: len(places.turns._waiting) > before)  # noqa: B023
    return threads


@pytest.mark.usefixtures("never_looks")
def test_callers_have_a_place_in_the_order_in_which_they_came() -> None:
    places, order = Places[str](1), list[int]()
    first = list[t.Any]()
    assert places.take_now(first)

    threads = wait_in_threads(20, places, order.append)
    places.give_back(first)
    for thread in threads:
        thread.join()
    assert order == list(range(20)) and len(places.free) == 1 and not places.turns


@pytest.mark.usefixtures("never_looks")
def test_a_caller_that_was_woken_wakes_the_next_one_if_there_are_more_places() -> None:
    places = Places[str](2)
    assert places.take_now([]) and places.take_now([])
    both = threading.Barrier(2)
    threads = wait_in_threads(2, places, lambda _: both.wait(60))
    # As if both were given back before the first caller runs.
    places.free.extend([None, None])
    places.turns.wake()
    for thread in threads:
        thread.join()
    assert not both.broken and not places.turns


def test_a_caller_that_comes_later_passes_none_that_waits() -> None:
    places = Places[str](1)
    # It was woken, and has not looked yet.
    places.turns._waiting.append(turns._Waiting(time.monotonic() + 1000))
    assert not places.take_now([]) and not places.take([], 0)
    places.turns._waiting.clear()
    assert places.take_now([])


def test_what_a_caller_leaves_in_its_place_is_taken_before_an_empty_one() -> None:
    places = Places[str](3)
    taken: list[list[str | None]] = [[], [], []]
    assert all(places.take_now(place) for place in taken)
    assert taken == [[None], [None], [None]] and not places.take_now([])
    taken[0][0], taken[1][0] = "a", "b"
    for place in taken:
        places.give_back(place)
        assert place == []
    assert [*places.free] == [None, "a", "b"]


def test_places_are_emptied_even_if_a_caller_waits() -> None:
    places, dropped = Places[str](4), list[str]()
    taken: list[list[str | None]] = [[], [], [], []]
    assert all(places.take_now(place) for place in taken)
    for place, thing in zip(taken, "abc", strict=False):
        place[0] = thing
    for place in taken[1:]:
        places.give_back(place)
    places.turns._waiting.append(turns._Waiting(time.monotonic() + 1000))
    places.empty(dropped.append)
    assert dropped == ["c", "b"] and [*places.free] == [None, None, None]
    places.give_back(taken[0])
    places.empty(dropped.append)
    assert dropped == ["c", "b", "a"] and [*places.free] == [None] * 4


def test_a_thing_that_could_not_be_dropped_leaves_its_place_empty() -> None:
    places, place = Places[str](1), list[t.Any]()
    assert places.take_now(place)
    place[0] = "a"
    places.give_back(place)
    with pytest.raises(TypeError):
        places.empty(t.cast(t.Any, lambda: None))
    assert [*places.free] == [None]


@pytest.mark.usefixtures("never_looks")
def test_no_more_callers_have_a_place_than_there_are_places() -> None:
    places, used, most = Places[str](3), list[int](), list[int]()

    def use() -> None:
        for _ in range(100):
            place = list[t.Any]()
            assert places.take(place, 60)
            used.append(1)
            most.append(len(used))
            used.pop()
            places.give_back(place)
            places.give_back(place)

    together(8, use)
    assert max(most) <= 3 and len(places.free) == 3


def test_a_wait_for_a_place_ends() -> None:
    places, place = Places[str](1), list[t.Any]()
    assert places.take(place, 0)
    assert not places.take([], 0) and not places.take([], 0.01)
    assert not places.turns
    places.give_back(place)
    assert places.take([], 0)


def test_a_caller_that_was_torn_from_waiting_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    places, place = Places[str](1), list[t.Any]()
    assert places.take_now(place)
    places.turns._waiting.append(turns._Waiting(time.monotonic() - 1))
    places.give_back(place)
    assert places.take([], 10)
    assert not places.turns


def test_a_thread_wakes_no_greenlet_of_another_one() -> None:
    """gevent's locks are for the greenlets of one thread."""
    places = Places[str](1)
    me = turns._Waiting(time.monotonic() + 1000)
    places.turns._waiting.append(me)
    me.thread = 1
    places.turns.wake()
    assert me.bell.locked()
    me.thread = None
    places.turns.wake()
    assert not me.bell.locked()


def test_a_wait_that_ends_late_goes_on_for_as_long_as_it_was_late() -> None:
    waited = list[float]()

    def wait(seconds: float) -> bool:
        waited.append(seconds)
        if len(waited) == 1:
            # This process was busy.
            time.sleep(seconds + 0.05)
        return len(waited) == 2

    assert wait_again(wait, 0.1)
    assert waited[0] == 0.1 and 0.05 <= waited[1] <= 0.1


def test_a_wait_that_was_not_in_vain_is_over() -> None:
    assert wait_again(lambda seconds: f"{seconds:g}", 3) == "3"


class Late(Exception):
    pass


def test_an_exception_of_the_handler_of_a_signal_leaves_a_shared_lock_free() -> None:
    """As that of a task of Celery or RQ which takes too long."""

    def stop(*_: object) -> None:
        raise Late

    lock = shared_lock()
    before = signal.signal(signal.SIGPROF, stop)
    try:
        for _ in range(50):
            with pytest.raises(Late):
                signal.setitimer(signal.ITIMER_PROF, 1e-4)
                while True:
                    with lock:
                        pass
            assert not lock.locked()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def test_an_exception_of_the_handler_of_a_signal_leaves_each_place_free() -> None:
    def stop(*_: object) -> None:
        raise Late

    places = Places[str](1)
    before = signal.signal(signal.SIGPROF, stop)
    try:
        for _ in range(100):
            with pytest.raises(Late):
                signal.setitimer(signal.ITIMER_PROF, 1e-4)
                while True:
                    place = list[t.Any]()
                    try:
                        try:
                            assert places.take_now(place) or places.take(place, 0)
                        finally:
                            places.give_back(place)
                    finally:
                        places.give_back(place)
            assert len(places.free) == 1
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def test_only_one_thread_has_a_shared_lock() -> None:
    lock = shared_lock()
    with lock:
        assert lock.locked() and not lock.acquire(blocking=False)
    assert lock.acquire(blocking=False)
    lock.release()


def test_greenlets_and_threads_wait_in_turn() -> None:
    command = [sys.executable, "-m", "apps.turns"]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
