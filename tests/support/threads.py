"""Threads that do the same at once, so that what relies on their turns fails."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import contextvars
import sys
import threading
import types
import typing as t

import pytest


@contextlib.contextmanager
def many_switches() -> cabc.Iterator[None]:
    """Where there is a GIL, let another thread have it as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def together(count: int, work: cabc.Callable[[], object]) -> None:
    """Call it in so many threads at once, and raise what any of them raises."""
    barrier = threading.Barrier(count)
    failed: list[BaseException] = []

    def run() -> None:
        barrier.wait()
        try:
            work()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    with many_switches():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if failed:
        raise failed[0]


def interrupt(
    work: cabc.Callable[[], None], at: int, other: cabc.Callable[[], None]
) -> bool:
    """Call `work`, and `other` before one of its instructions, as another thread may.

    :param work: A function of Python. The instructions of what it calls don't count.
    :param at: The number of the instruction.
    :return: Whether it has so many.
    """
    code, before, count = t.cast(t.Any, work).__code__, sys.gettrace(), 0

    def trace(frame: types.FrameType, event: str, arg: object) -> t.Any:
        nonlocal count
        if frame.f_code is not code:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            count += 1
            if count == at:
                other()
        return trace

    # Python 3.12 looks at this frame, whether there is to be an event for each instruction.
    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count >= at


@pytest.fixture
def inherited(monkeypatch: pytest.MonkeyPatch) -> cabc.Iterator[list[int]]:
    """How many variables of the context each thread gets that is started now. Python 3.14
    without the GIL gives it all of them, for as long as it lives."""
    found: list[int] = []

    class Inheriting(threading.Thread):
        def start(self) -> None:
            found.append(len(contextvars.copy_context()))
            super().start()

    monkeypatch.setattr(threading, "Thread", Inheriting)
    request = contextvars.ContextVar[str]("request")
    token = request.set("1")
    yield found
    request.reset(token)
