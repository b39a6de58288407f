"""Greenlets hold runs. The thread of the process that beats for them is a real one."""

from gevent import monkey

monkey.patch_all()

import collections.abc as cabc  # noqa: E402
import sys  # noqa: E402

import gevent  # noqa: E402

from flask_push import Publisher  # noqa: E402

publisher = Publisher(sys.argv[1], timeout=20)
publisher._run_times = (0.3,)
process = publisher._runs()[0]
ticks = 0


def tick() -> None:
    global ticks
    while True:
        ticks += 1
        gevent.sleep(0)


def answer(number: int) -> None:
    def model() -> cabc.Iterator[str]:
        for piece in range(20):
            gevent.sleep(0.001)
            yield f"{piece} "

    with publisher.run(f"answer:{number}") as run:
        run.progress(number, 20)
        assert len(run.write_all(model())) == 20


def compute() -> None:
    """No other greenlet runs meanwhile."""
    with publisher.run("compute") as run:
        first = process._signs.beats.number
        while process._signs.beats.number < first + 4:
            sum(range(1000))
        run.write("computed")
        run.check()


def share() -> None:
    """Greenlets write one run."""
    with publisher.run("shared") as run:

        def write(number: int) -> None:
            for _ in range(10):
                run.write(f"{number} ")
                run.write_all(f"{number}")

        gevent.joinall([gevent.spawn(write, n) for n in range(5)], raise_error=True)


ticking = gevent.spawn(tick)
gevent.joinall([gevent.spawn(answer, n) for n in range(20)], raise_error=True)
share()
ticking.kill()
assert ticks > 100, "No other greenlet ran."
compute()
with publisher.run("stopped") as run:
    publisher.stop("stopped")
    while run.status == "running":
        gevent.sleep(0.001)
publisher.close()
