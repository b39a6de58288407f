"""A Redis hangs, or is restarted, while a run is written."""

from __future__ import annotations

import collections.abc as cabc
import threading
from pathlib import Path

import pytest
from support.redises import Redis
from support.runs import events_of
from support.runs import holders_of
from support.servers import until

from flask_push import Publisher
from flask_push import Run
from flask_push import RunOver

COUNT = 60


def pieces(trouble: cabc.Callable[[int], object]) -> cabc.Iterator[str]:
    """The trouble begins in the middle."""
    for number in range(COUNT):
        trouble(number)
        yield f"{number}"


def written(publisher: Publisher) -> list[str]:
    found = events_of(publisher, "a")
    return [each for each in found if not each.startswith("[")]


@pytest.fixture
def redis(tmp_path: Path) -> cabc.Iterator[Redis]:
    # What it has acknowledged is on its disk.
    with Redis.started(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as redis:
        yield redis


@pytest.fixture
def publisher(redis: Redis) -> cabc.Iterator[Publisher]:
    publisher = Publisher(redis.url, timeout=0.2)
    yield publisher
    publisher.close()


def write(run: Run, way: str, source: cabc.Iterable[str]) -> None:
    if way == "write_all":
        run.write_all(source)
    else:
        for piece in source:
            run.write(piece)


@pytest.mark.parametrize("way", ["write", "write_all"])
def test_a_redis_that_hangs_for_a_while_loses_no_event_and_repeats_none(
    publisher: Publisher, redis: Redis, way: str
) -> None:
    later = list[threading.Timer]()

    def hang(number: int) -> None:
        if number == 30:
            redis.stop()
            later.append(threading.Timer(0.5, redis.go_on))
            later[-1].start()

    with publisher.run("a", listed="runs") as run:
        run.progress(1)
        write(run, way, pieces(hang))
        for timer in later:
            timer.join()
        run.progress(2)
    assert written(publisher) == [f"{number}" for number in range(COUNT)]
    assert events_of(publisher, "a")[-1] == "[done]"
    assert publisher.items("runs").events["a"].json["done"] == 2
    until(lambda: holders_of(publisher) == {})


@pytest.mark.parametrize("way", ["write", "write_all"])
def test_a_redis_that_is_restarted_with_its_data_loses_no_event_and_repeats_none(
    publisher: Publisher, redis: Redis, way: str
) -> None:
    def restart(number: int) -> None:
        if number in (20, 40):
            redis.kill()
            redis.start()

    with publisher.run("a") as run:
        write(run, way, pieces(restart))
    assert written(publisher) == [f"{number}" for number in range(COUNT)]
    assert events_of(publisher, "a")[-1] == "[done]"


@pytest.mark.parametrize("way", ["write", "write_all"])
def test_a_redis_that_was_emptied_has_lost_the_run(
    publisher: Publisher, redis: Redis, way: str
) -> None:
    def empty(number: int) -> None:
        if number == 20:
            redis.do("FLUSHALL")

    with pytest.raises(RunOver), publisher.run("a") as run:
        write(run, way, pieces(empty))
        # What write_all has gathered may be stored only now.
        run.write("more")
    assert run.status == "lost"
    assert events_of(publisher, "a") == []
    with publisher.run("a", key="again") as again:
        again.write("x")
    assert events_of(publisher, "a")[1:] == ["[running]", "x", "[done]"]
