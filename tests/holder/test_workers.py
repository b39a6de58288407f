"""Tasks of Celery and of RQ write runs. Whatever becomes of a task, its run ends once for
each attempt, and the same key is the same run."""

from __future__ import annotations

from pathlib import Path

from support.redises import Redis
from support.runs import events_of
from support.runs import holders_of
from support.runs import record_now
from support.runs import rows_of
from support.runs import take_for_dead
from support.servers import until
from support.task_workers import celery
from support.task_workers import publisher as publisher
from support.task_workers import redis as redis
from support.task_workers import rq
from support.task_workers import run

from flask_push import Publisher

FIRST = ["[queued]", "[running]", "attempt ", "1"]
SECOND = ["[running]", "attempt ", "2", "[done]"]


def wait(publisher: Publisher, way: str, events: list[str], log: Path) -> None:
    try:
        until(lambda: events_of(publisher, way) == events, 40)
    except AssertionError:
        found = events_of(publisher, way)
        raise AssertionError(f"{way}: {found}\n{log.read_text()}") from None


def process_of(publisher: Publisher, way: str, log: Path) -> str:
    """The process that holds a run, once it does and has written all."""
    wait(publisher, way, FIRST, log)
    return record_now(publisher, way).process


def test_each_attempt_of_a_task_of_celery_ends_once(
    redis: Redis, publisher: Publisher, tmp_path: Path
) -> None:
    start = (
        "from apps.celery_runs import answer\n"
        "for way in 'done', 'retried', 'killed', 'stopped': answer.delay(way)\n"
        "answer.apply_async(['soft'], soft_time_limit=1)\n"
        "answer.apply_async(['hard'], time_limit=1)"
    )
    again = (
        "from apps.celery_runs import answer\n"
        "print([answer.delay(way).get(timeout=60) for way in ('done', 'stopped')])"
    )
    with celery(redis, tmp_path, "apps.celery_runs") as log:
        run(redis, "-c", start)
        wait(publisher, "done", [*FIRST, "[done]"], log)
        # Celery keeps the task's arguments when it retries, and so the run.
        wait(publisher, "retried", [*FIRST, "[failed]", *SECOND], log)
        # Until then, the task that is delivered again at once is refused.
        take_for_dead(publisher, process_of(publisher, "killed", log))
        wait(publisher, "killed", [*FIRST, "[lost]", *SECOND], log)
        process_of(publisher, "stopped", log)
        assert publisher.stop("stopped")
        wait(publisher, "stopped", [*FIRST, "[stopping]", "[stopped]"], log)
        # The limit is an exception, and the block ends.
        wait(publisher, "soft", [*FIRST, "[failed]", *SECOND], log)
        # Celery ends the process, which ends the block.
        wait(publisher, "hard", [*FIRST, "[failed]"], log)
        found = run(redis, "-c", again)
    assert found == "['done, delivered again', 'stopped, delivered again']\n"
    assert holders_of(publisher) == {}
    assert rows_of(publisher, "waits", "waits") == []


def test_each_attempt_of_a_task_of_rq_ends_once(
    redis: Redis, publisher: Publisher, tmp_path: Path
) -> None:
    connect = (
        "import os; from redis import Redis; from rq import Queue, Retry\n"
        "connection = Redis.from_url(os.environ['REDIS'])\n"
        "queue = Queue(connection=connection)\n"
    )
    start = connect + (
        "for way in 'done', 'done': queue.enqueue('apps.rq_runs.answer', way)\n"
        "for way, limit in ('retried', 60), ('timed', 1):\n"
        "    queue.enqueue('apps.rq_runs.answer', way, job_timeout=limit, retry=Retry(1))"
    )
    one_more = connect + "queue.enqueue('apps.rq_runs.answer', 'killed', job_id='killed')"
    stop = connect + (
        "from rq.command import send_stop_job_command\n"
        "send_stop_job_command(connection, 'killed')"
    )
    again = connect + "queue.enqueue('apps.rq_runs.answer', 'killed')"
    with rq(redis, tmp_path) as log:
        run(redis, "-c", start)
        wait(publisher, "done", [*FIRST, "[done]"], log)
        wait(publisher, "retried", [*FIRST, "[failed]", *SECOND], log)
        wait(publisher, "timed", [*FIRST, "[failed]", *SECOND], log)
        run(redis, "-c", one_more)
        process = process_of(publisher, "killed", log)
        run(redis, "-c", stop)
        until(lambda: "stopped" in log.read_text())
        take_for_dead(publisher, process)
        wait(publisher, "killed", [*FIRST, "[lost]"], log)
        run(redis, "-c", again)
        wait(publisher, "killed", [*FIRST, "[lost]", *SECOND], log)
    until(lambda: holders_of(publisher) == {})
