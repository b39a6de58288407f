"""The tasks of the page *Celery and RQ*, and the app that gives them to the workers."""

from __future__ import annotations

import os
import re
import signal
import time
import typing as t
from secrets import token_urlsafe as token_urlsafe
from types import SimpleNamespace

import dramatiq
from celery import Celery
from dramatiq.brokers.redis import RedisBroker
from flask import Flask
from flask import request as request
from huey import RedisHuey
from redis import Redis
from rq import Queue
from rq import Retry as Retry
from support.pages import blocks
from support.pages import DOCS

from flask_push import Push
from flask_push import RunBusy as RunBusy

URL = os.environ["REDIS"]
TASKS, IN_RQ, ANNOUNCE, STEPS = blocks(DOCS["celery-rq"], "python")
# Tests do not wait as long.
TASKS = TASKS.replace("retry_backoff=30", "retry_backoff=1, max_retries=9")
# And Celery retries what the app names.
TASKS = TASKS.replace("(RunBusy,)", "(RunBusy, OSError)")
IN_RQ = IN_RQ.replace("[45, 60, 120]", "[1, 2, 4, 8]").replace("max=3", "max=9")

app = Flask("tasks", instance_path="/nonexistent")
app.config["PUSH_BROKER_URL"] = URL
push = Push(app)
current_user = SimpleNamespace(id=7)
celery = Celery("tasks", broker=URL, backend=URL)
celery.conf.broker_connection_retry_on_startup = True
celery.set_default()
redis = Redis.from_url(URL)
queue = Queue(connection=redis)
huey: t.Any = RedisHuey(url=URL)
dramatiq.set_broker(RedisBroker(url=URL))  # type: ignore[no-untyped-call]


def shrink(file: str) -> None:
    """What becomes of a process, by the file that it gets."""
    first = redis.incr(file) == 1
    if file == "slow":
        time.sleep(0.05)
    elif file == "killed" and first:
        os.kill(os.getpid(), signal.SIGKILL)
    elif file == "broken" and first:
        raise OSError("a file is broken")


def run_page(code: str) -> None:
    """Define what the page defines, as if it stood here."""
    exec(compile(code, "page", "exec", dont_inherit=True), globals())


run_page(TASKS)
run_page(ANNOUNCE.replace("redis://127.0.0.1:6379/0", URL))
run_page(STEPS)

# The same function, without the decorator.
_, _, function = TASKS.partition("\ndef shrink_all(")
function, _, _ = function.partition("\n\n\n")
run_page(f"def shrink({function}".replace("shrink(job", "shrink_plain(job"))
plain: t.Any = globals()["shrink_plain"]


def decorated(name: str, **options: str) -> t.Any:
    """The function with a decorator that the page has in a sentence."""
    ((code, given),) = re.findall(rf"`@({name}\.\w+\((.*?)\))`", DOCS["celery-rq"])
    for was, now in options.items():
        assert was in given
        code = re.sub(rf"{was}=\w+", f"{was}={now}", code)
    return eval(code, globals())(plain)


with_dramatiq = decorated("dramatiq", min_backoff="100")
with_huey = decorated("huey", retry_delay="1")


def enqueue_in_rq(job: str, files: list[str]) -> None:
    push.run(f"job:{job}", key=job, listed="jobs:7")
    exec(IN_RQ, {**globals(), "shrink_all": plain, "job": job, "files": files})
