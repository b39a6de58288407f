"""Tasks, jobs, greenlets, scripts and commands publish, and a stream receives it. Tasks
listen too."""

from __future__ import annotations

import collections.abc as cabc
import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.reader import HttpReader
from support.redises import Redis
from support.servers import gunicorn
from support.servers import program
from support.servers import serve
from support.servers import Server
from support.servers import TESTS
from support.servers import until
from support.task_workers import celery
from support.task_workers import environment
from support.task_workers import run

from flask_push import Publisher

TASKS = "apps.celery_tasks"


@pytest.fixture
def redis(tmp_path: Path) -> cabc.Iterator[Redis]:
    with Redis.started(tmp_path) as redis:
        yield redis


@pytest.fixture
def server(redis: Redis, tmp_path: Path) -> cabc.Iterator[Server]:
    with serve(gunicorn, tmp_path, PUSH_BROKER_URL=redis.url) as server:
        yield server


def numbers(reader: HttpReader, count: int) -> list[int]:
    return sorted(json.loads(data)["number"] for data in reader.read_data(count))


def test_tasks_of_celery_publish(redis: Redis, server: Server, tmp_path: Path) -> None:
    reader = server.stream("celery").opened()
    with celery(redis, tmp_path, TASKS) as log:
        code = "from apps.celery_tasks import announce as a\nfor n in range(20): a.delay(n)"
        run(redis, "-c", code)
        until(lambda: json_numbers(reader, 20), 60, log.read_text())


def test_tasks_of_celery_listen(redis: Redis, tmp_path: Path) -> None:
    """Two run at once, in the worker's processes."""
    publisher = Publisher(redis.url)
    since = publisher.publish("listened", "before")
    code = (
        "from apps.celery_tasks import listen\n"
        f"found = [listen.delay({since!r}) for _ in range(2)]\n"
        "print([task.get(timeout=60) for task in found])"
    )
    command = [sys.executable, "-c", code]
    options = {"cwd": TESTS, "env": environment(redis), "text": True}
    with celery(redis, tmp_path, TASKS), program(command, **options) as getting:
        for number in range(5):
            publisher.publish("listened", f"{number}")
        publisher.publish("listened", "end")
        assert getting.communicate(timeout=60)[0] == f"{[[*'01234']] * 2}\n"
    publisher.close()


def json_numbers(reader: HttpReader, count: int) -> bool:
    """Whether all of the numbers have come, once each."""
    reader.read()
    found = [json.loads(data) for data in reader.data if data != "imported"]
    return sorted(event["number"] for event in found) == list(range(count))


def test_tasks_of_rq_publish(redis: Redis, server: Server) -> None:
    reader = server.stream("rq").opened()
    code = (
        "import os; from redis import Redis; from rq import Queue;"
        "queue = Queue(connection=Redis.from_url(os.environ['REDIS']));"
        "[queue.enqueue('apps.rq_tasks.announce', n) for n in range(5)]"
    )
    run(redis, "-c", code)
    run(redis, "-m", "rq.cli", "worker", "--burst", "--url", redis.url)
    assert numbers(reader, 5) == list(range(5))


def test_jobs_of_apscheduler_publish(redis: Redis, server: Server) -> None:
    reader = server.stream("scheduled").opened()
    run(redis, "-m", "apps.scheduled")
    assert numbers(reader, 10) == list(range(10))


def test_greenlets_publish_without_blocking_others(redis: Redis, server: Server) -> None:
    reader = server.stream("greenlets").opened()
    run(redis, "-m", "apps.greenlets")
    assert numbers(reader, 100) == list(range(100))


def test_a_script_and_a_shell_publish(redis: Redis, server: Server) -> None:
    reader = server.stream("a").opened()
    code = f"from flask_push import Publisher as P; P({redis.url!r}).publish('a', 'script')"
    run(redis, "-c", code)
    env = {
        **environment(redis),
        "FLASK_PUSH_BROKER_URL": redis.url,
        "INSTANCE": server.env["INSTANCE"],
    }
    command = [sys.executable, "-m", "flask", "--app", "apps.basic", "push", "publish"]
    subprocess.run([*command, "a", "shell"], cwd=TESTS, env=env, check=True, timeout=60)
    assert reader.read_data(2) == ["script", "shell"]
