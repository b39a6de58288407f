"""A hundred greenlets publish through one publisher. While each waits for its Redis, the
others go on."""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402

import gevent  # noqa: E402

from flask_push import Publisher  # noqa: E402

publisher = Publisher(os.environ["REDIS"])
ticks = 0


def tick() -> None:
    global ticks
    while True:
        ticks += 1
        gevent.sleep(0)


def announce(number: int) -> None:
    publisher.publish("greenlets", {"number": number})


ticking = gevent.spawn(tick)
gevent.joinall([gevent.spawn(announce, n) for n in range(100)], raise_error=True)
ticking.kill()
assert ticks > 10, "nobody else ran"
publisher.close()
