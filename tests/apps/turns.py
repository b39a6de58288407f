"""Greenlets and threads of the system wait for the same lock, each in its turn."""

from gevent import monkey

monkey.patch_all()

import typing as t  # noqa: E402

import gevent  # noqa: E402

from flask_push._system import turns  # noqa: E402
from flask_push._system import unpatched  # noqa: E402
from flask_push._system.turns import Places  # noqa: E402
from flask_push._system.turns import shared_lock  # noqa: E402

# They have it in the order in which they came, and are woken only when it is their turn.
order = list[int]()
lock: t.Any = shared_lock()
looks = 0


attempt = lock._attempt


def look() -> bool:
    global looks
    looks += 1
    return bool(attempt())


lock._attempt = look


def use(number: int) -> None:
    with lock:
        order.append(number)
        gevent.sleep(0.0005)
        assert order[-1] == number


lock.acquire()
users = [gevent.spawn(use, n) for n in range(500)]
gevent.sleep(0.01)
lock.release()
gevent.joinall(users, raise_error=True)
assert order == list(range(500)) and not lock.locked() and not lock._turns
assert looks < 5000, looks

# A thread of the system has its turn while greenlets wait, and the other way round.
done = list[str]()


def use_in_thread() -> None:
    sleep = unpatched.original("time", "sleep")
    for _ in range(20):
        with lock:
            sleep(0.001)
    done.append("thread")


def use_often() -> None:
    for _ in range(20):
        with lock:
            gevent.sleep(0.001)


thread = unpatched.start_thread(use_in_thread)
gevent.joinall([gevent.spawn(use_often) for _ in range(5)], raise_error=True)
while thread.is_alive():
    gevent.sleep(0.01)
assert done == ["thread"] and not lock.locked()

# A thread of the system wakes no greenlet, but each greenlet looks by itself.
lock.acquire()
waiting = gevent.spawn(use, 1)
gevent.sleep(0)
unpatched.start_thread(lock.release)
waiting.join(10)
assert waiting.dead

# The others go on if a greenlet is killed while it waits, or when it is its turn.
places = Places[str](1)
place = list[t.Any]()
assert places.take(place, 0)


def wait_for_place() -> bool:
    mine = list[t.Any]()
    taken = places.take(mine, 10)
    places.give_back(mine)
    return taken


first, second, third = [gevent.spawn(wait_for_place) for _ in range(3)]
gevent.sleep(0)
second.kill()
places.give_back(place)
first.kill()
assert third.get(timeout=5)

# A thread of the system that waits for a place is woken by a greenlet. The greenlet behind
# it finds out by itself.
look_seconds, turns._LOOK = turns._LOOK, 1000.0
assert places.take(place, 0)
taken = list[bool]()


def take_in_thread() -> None:
    taken.append(wait_for_place())


thread = unpatched.start_thread(take_in_thread)
while not places.turns:
    gevent.sleep(0.001)
turns._LOOK = look_seconds
waiting = gevent.spawn(wait_for_place)
gevent.sleep(0)
places.give_back(place)
while thread.is_alive():
    gevent.sleep(0.001)
assert taken == [True] and waiting.get(timeout=5)

# That is also so if other greenlets were before both. No greenlet looks by itself before it
# is woken.
turns._LOOK = 1000.0
assert places.take(place, 0)
waiting = gevent.spawn(wait_for_place)
gevent.sleep(0)
taken.clear()
thread = unpatched.start_thread(take_in_thread)
while len(places.turns._waiting) < 2:
    gevent.sleep(0.001)
last = gevent.spawn(wait_for_place)
gevent.sleep(0)
places.give_back(place)
assert waiting.get(timeout=5) and last.get(timeout=5)
while thread.is_alive():
    gevent.sleep(0.001)
assert taken == [True]
turns._LOOK = look_seconds

# A process that is busy for longer than the wait lasts gives those a chance who have to do
# what is waited for.
assert places.take(place, 0)
late = gevent.spawn(places.take, [], 0.2)
gevent.sleep(0)
gevent.spawn_later(0.25, places.give_back, place)
unpatched.original("time", "sleep")(0.4)
assert late.get(timeout=5), "the process was busy"
