"""The page *Celery and RQ*: what its code does in real workers is what the page says."""

from __future__ import annotations

import collections.abc as cabc
import json
import typing as t
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from support.browser import Windows
from support.pages import blocks
from support.pages import DOCS
from support.redises import Redis
from support.runs import events_of
from support.runs import record_now
from support.runs import take_for_dead
from support.servers import until
from support.task_workers import celery
from support.task_workers import dramatiq
from support.task_workers import huey
from support.task_workers import publisher as publisher
from support.task_workers import redis as redis
from support.task_workers import rq
from support.task_workers import run

from flask_push import Publisher

APP = "apps.doc_tasks"

Worker = cabc.Callable[[Redis, Path], AbstractContextManager[Path]]

#: How each is started, and given a task.
WORKERS: dict[str, tuple[Worker, str]] = {
    "celery": (
        lambda redis, at: celery(redis, at, f"{APP}:celery"),
        "shrink_all.delay(job, files)",
    ),
    "rq": (
        lambda redis, at: rq(redis, at, "--with-scheduler"),
        "enqueue_in_rq(job, files)",
    ),
    "dramatiq": (
        lambda redis, at: dramatiq(redis, at, APP),
        "with_dramatiq.send(job, files)",
    ),
    "huey": (lambda redis, at: huey(redis, at, f"{APP}.huey"), "with_huey(job, files)"),
}


def start(redis: Redis, *lines: str) -> None:
    """Run lines in another process that knows the page's code."""
    code = f"from {APP} import *\n"
    code += "def make(): push.run(f'job:{job}', key=job, listed='jobs:7')\n"
    run(redis, "-c", code + "\n".join(lines))


def ends(publisher: Publisher, log: Path, *statuses: str, job: str = "1") -> None:
    """Wait until a run has had these statuses."""
    try:
        until(
            lambda: events_of(publisher, f"job:{job}") == [f"[{s}]" for s in statuses], 60
        )
    except AssertionError:
        found = events_of(publisher, f"job:{job}")
        raise AssertionError(f"{found}\n{log.read_text()}") from None


def listed(publisher: Publisher, name: str) -> t.Any:
    return publisher.items("jobs:7").events[name].json


@pytest.mark.parametrize("name", WORKERS)
def test_a_task_shows_its_progress_and_is_cancelled_or_done_once(
    name: str, redis: Redis, publisher: Publisher, tmp_path: Path
) -> None:
    worker, give = WORKERS[name]
    slow = ["job, files = '4', ['slow'] * 600", "make()", give]
    stopped = ["job, files = '2', ['never']", "make()", "push.stop('job:2')", give]
    # It is delivered twice.
    twice = ["job, files = '1', ['a', 'broken', 'b']", "make()", give, give]
    last = ["job, files = '3', ['c']", "make()", give]
    with worker(redis, tmp_path) as log:
        start(redis, *slow, *stopped, *twice, *last)
        until(lambda: listed(publisher, "job:4")["done"], 60)
        assert publisher.stop("job:4")
        ends(publisher, log, "queued", "running", "stopping", "stopped", job="4")
        ends(publisher, log, "queued", "running", "failed", "running", "done")
        ends(publisher, log, "queued", "running", "done", job="3")
    assert listed(publisher, "job:4")["done"] < 600
    found = listed(publisher, "job:1")
    assert (found["done"], found["total"], found["text"]) == (3, 3, "b")
    ends(publisher, log, "queued", "running", "failed", "running", "done")
    ends(publisher, log, "queued", "stopped", job="2")


@pytest.mark.parametrize("name", ["celery", "rq"])
def test_a_task_whose_process_is_killed_is_delivered_again(
    name: str, redis: Redis, publisher: Publisher, tmp_path: Path
) -> None:
    worker, give = WORKERS[name]
    with worker(redis, tmp_path) as log:
        start(redis, "job, files = '1', ['killed']", "make()", give)
        ends(publisher, log, "queued", "running")
        process = record_now(publisher, "job:1").process
        # Until its run is lost, it is refused.
        until(lambda: "RunBusy" in log.read_text(), 60)
        take_for_dead(publisher, process)
        ends(publisher, log, "queued", "running", "lost", "running", "done")


def test_views_make_the_run_of_a_task_and_cancel_it(
    redis: Redis, publisher: Publisher
) -> None:
    """No worker takes the task."""
    code = (
        f"from {APP} import app, push\n"
        "client = app.test_client()\n"
        "answer = client.post('/jobs', data={'file': ['a', 'b']})\n"
        "job = answer.json['job']\n"
        "print(answer.status, push.run(f'job:{job}', key=job).status)\n"
        "print(client.post(f'/jobs/{job}/cancel').status)\n"
        "print(push.run(f'job:{job}', key=job).status)\n"
        "print([event.json['status'] for event in push.items('jobs:7').events.values()])\n"
    )
    said = run(redis, "-c", code).splitlines()
    assert said == ["202 ACCEPTED queued", "204 NO CONTENT", "stopped", "['stopped']"]


def test_a_task_publishes_once_though_it_is_delivered_twice(
    redis: Redis, publisher: Publisher, tmp_path: Path
) -> None:
    code = f"from {APP} import announce\n"
    code += "for _ in 'ab': announce.delay(5, 7).get(timeout=60)"
    with celery(redis, tmp_path, f"{APP}:celery"):
        run(redis, "-c", code)
    (event,) = publisher.history("user:7", 9).events
    assert json.loads(event.data) == {"paid": 5}


def test_steps_end_when_they_are_cancelled(redis: Redis) -> None:
    code = (
        f"from {APP} import *\n"
        "import apps.doc_tasks as module\n"
        "module.remove_what_there_is = print\n"
        "def step():\n"
        "    assert push.stop('job:1')\n"
        "module.steps_of = lambda file: [step] * 9\n"
        "module.shrink_in_steps(push.run('job:1'), ['a'])\n"
    )
    assert run(redis, "-c", code) == "['a']\n"


def test_a_page_draws_each_job_that_has_changed(windows: Windows) -> None:
    """Its items come from a stream, and here from a fake of items.js."""
    (code,) = blocks(DOCS["celery-rq"], "js")
    fake = """const connect = () => ({items: (channel, callback) => {
        const running = {status: "running", done: 2, total: 5, text: "cat.png"};
        callback(new Map([["job:1", running]]), new Set(["job:1", "job:2"]));
    }});
    window.drawn = [];
    window.draw = (...job) => drawn.push(job.join());
    """
    page = windows.open("about:blank")
    _, _, body = code.partition("\n")
    page.evaluate(f"() => {{ {fake} {body} }}")
    assert page.evaluate("drawn") == ["job:1,running,0.4,cat.png", "job:2,,NaN,"]
