"""Waiting in turn, in threads and in greenlets."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest
from support.servers import TESTS
from support.servers import until
from support.threads import together

from flask_push._system import turns
from flask_push._system.turns import shared_lock
from flask_push._system.turns import Slot
from flask_push._system.turns import Slots
from flask_push._system.turns import wait_again


def test_those_who_wait_have_a_slot_in_the_order_in_which_they_came() -> None:
    slots, order = Slots(1), list[int]()
    first = Slot(slots)
    assert first.take(0)

    def use(number: int) -> None:
        slot = Slot(slots)
        assert slot.take(60)
        order.append(number)
        slot.give_back()

    threads = [threading.Thread(target=use, args=(n,)) for n in range(20)]
    for thread in threads:
        before = len(slots.turns._waiting)
        thread.start()
        until(lambda: len(slots.turns._waiting) > before)  # noqa: B023
    first.give_back()
    for thread in threads:
        thread.join()
    assert order == list(range(20)) and len(slots.free) == 1 and not slots.turns


def test_no_more_have_a_slot_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without being woken, those who wait would not end in time.
    monkeypatch.setattr(turns, "_LOOK", 1000.0)
    slots, used, most = Slots(3), list[int](), list[int]()

    def use() -> None:
        for _ in range(100):
            slot = Slot(slots)
            assert slot.take(60)
            used.append(1)
            most.append(len(used))
            used.pop()
            slot.give_back()
            slot.give_back()

    together(8, use)
    assert max(most) <= 3 and len(slots.free) == 3


def test_a_wait_for_a_slot_ends() -> None:
    slots = Slots(1)
    slot = Slot(slots)
    assert slot.take(0)
    assert not Slot(slots).take(0) and not Slot(slots).take(0.01)
    assert not slots.turns
    slot.give_back()
    assert Slot(slots).take(0)


def test_one_who_was_torn_from_waiting_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slots = Slots(1)
    slot = Slot(slots)
    assert slot.take(0)
    slots.turns._waiting.append(turns._Waiting(time.monotonic() - 1))
    slot.give_back()
    assert Slot(slots).take(10)
    assert not slots.turns


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


def test_an_exception_of_the_handler_of_a_signal_leaves_each_slot_free() -> None:
    def stop(*_: object) -> None:
        raise Late

    slots = Slots(1)
    before = signal.signal(signal.SIGPROF, stop)
    try:
        for _ in range(100):
            with pytest.raises(Late):
                signal.setitimer(signal.ITIMER_PROF, 1e-4)
                while True:
                    slot = Slot(slots)
                    try:
                        try:
                            assert slot.take(0)
                        finally:
                            slot.give_back()
                    finally:
                        slot.give_back()
            assert len(slots.free) == 1
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
