"""A process that holds a run. It prints what happens, and goes on when it reads a line."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading

from flask_push import Publisher
from flask_push import RunBusy
from flask_push import RunOver

url, way = sys.argv[1:]
publisher = Publisher(url, timeout=20)
run = publisher.run("a", key="k", listed="runs")


def show(*words: object) -> None:
    print(*words, flush=True)


def write(text: str) -> None:
    """Write, and show what becomes of it."""
    try:
        run.write(text)
        show("stored")
    except (RunOver, RuntimeError) as error:
        show(type(error).__name__, run.status)


def hold() -> None:
    with run:
        run.write("x")
        show("entered")
        sys.stdin.readline()
        write("later")


def end_in_another_thread() -> None:
    """The process ends while a thread that does not matter to it holds a run."""
    entered = threading.Event()

    def work() -> None:
        with run:
            run.write("x")
            entered.set()
            threading.Event().wait()

    threading.Thread(target=work, daemon=True).start()
    entered.wait()


def exit_in_the_block() -> None:
    with run:
        run.write("x")
        sys.exit(3)


def fork() -> None:
    """The child writes, runs something else, and leaves the block of its parent."""
    with run:
        run.write("x")
        child = os.fork()
        if child == 0:
            write("of the child")
            with publisher.run("b") as other:
                other.write("of the child")
        else:
            os.waitpid(child, 0)
            write("y")
    if child == 0:
        # As processes end: what is entered ends as lost.
        sys.exit()


def in_a_child() -> None:
    write("of the child")
    try:
        with run:
            show("entered")
    except RunBusy:
        show("RunBusy")


def multiprocess() -> None:
    """A child begins in the block. Its copy of the run is of no use."""
    with run:
        run.write("x")
        context = multiprocessing.get_context("fork")
        child = context.Process(target=in_a_child)
        child.start()
        child.join()
        write("y")


globals()[way]()
