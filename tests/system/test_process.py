"""What a hub's own process asks the system for."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from flask_push._system import fork
from flask_push._system import process


def test_a_loop_calls_back_when_the_process_has_to_end() -> None:
    loop = asyncio.new_event_loop()
    reasons: list[str] = []

    def end(reason: str) -> None:
        reasons.append(reason)
        loop.stop()

    process.call_on_signals(loop, end, "it was stopped")
    for number in signal.SIGTERM, signal.SIGINT:
        os.kill(os.getpid(), number)
        loop.run_forever()
    assert reasons == ["it was stopped"] * 2
    loop.close()


def test_blocked_signals_are_received_again() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        process.unblock_signals()
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_the_time_that_a_process_computes_grows() -> None:
    before = process.cpu_seconds()
    while process.cpu_seconds() == before:
        pass
    assert process.cpu_seconds() > before


def test_a_process_interrupts_no_others() -> None:
    def is_changed() -> bool:
        process.interrupt_no_others()
        return os.sched_getscheduler(0) == os.SCHED_BATCH

    assert fork.run_in_child(is_changed)


def test_a_process_that_was_started_with_another_policy_keeps_it() -> None:
    def is_kept() -> bool:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        process.interrupt_no_others()
        return os.sched_getscheduler(0) == os.SCHED_IDLE

    assert fork.run_in_child(is_kept)


def test_a_process_has_the_name_and_the_title_that_it_is_given() -> None:
    child = os.fork()
    if child == 0:
        process.set_name("a name")
        process.set_title("a title")
        named = Path("/proc/self/comm").read_text() == "a name\n"
        titled = Path("/proc/self/cmdline").read_bytes().startswith(b"a title\0")
        os._exit(0 if named and titled else 1)
    assert os.waitpid(child, 0)[1] == 0
