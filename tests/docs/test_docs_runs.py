"""The pages *Answers of a model*, *Progress of a job* and *AI clients*: what their code
does is what the pages say."""

from __future__ import annotations

import collections.abc as cabc
import json
import re
import threading
import typing as t
from contextlib import suppress
from time import time
from types import SimpleNamespace
from uuid import uuid4

import pytest
from flask import abort
from flask import Flask
from flask import render_template_string
from flask import request
from flask.testing import FlaskClient
from support.pages import blocks
from support.pages import DOCS
from support.servers import until

from flask_push import ag_ui
from flask_push import ai_sdk
from flask_push import Push
from flask_push import RunBusy
from flask_push import RunOver
from flask_push.testing import read_events

ASK, SAVE, SHOW, CELERY, STOP, STEPS, SHORT, TESTS = blocks(DOCS["answers"], "python")
(CHAT_HTML,) = blocks(DOCS["answers"], r"html\+jinja")
JOBS, LISTED, ONE, JOB_TEST = blocks(DOCS["jobs"], "python")
SDK, AG_UI, OPENAI = blocks(DOCS["ai-clients"], "python")


class Row:
    """A row of a table. Its class has the columns."""

    id: int = 0
    text: str | None = None
    result: str | None = None

    def __init__(self, **values: t.Any) -> None:
        vars(self).update(values)


class Rows:
    """The database of an app, with one table."""

    def __init__(self) -> None:
        self.session = self
        self.all_of: list[Row] = []
        self.committed: list[str | None] = []

    def add(self, row: Row) -> None:
        row.id = len(self.all_of) + 1
        self.all_of.append(row)

    def flush(self) -> None:
        """The rows have their ids already."""

    def commit(self) -> None:
        texts = [(row.text, row.result) for row in self.all_of]
        self.committed = [b if a is None else a for a, b in texts]

    def get_one(self, kind: type[Row], id: int) -> Row:
        return self.all_of[id - 1]

    def scalars(self, chosen: Row) -> Rows:
        return self

    def all(self) -> list[Row]:
        return self.all_of


class Threads(list[threading.Thread]):
    """Starts threads, and knows them all."""

    def __call__(self, **given: t.Any) -> threading.Thread:
        self.append(threading.Thread(**given))
        return self[-1]

    def join(self) -> None:
        for thread in self:
            thread.join(30)


class Model:
    """It says its words, and may wait before one."""

    def __init__(self) -> None:
        self.words = ["Hel", "lo"]
        self.waits: threading.Event | None = None
        self.asked: list[str] = []

    def __call__(self, question: str) -> cabc.Iterator[str]:
        self.asked.append(question)
        for word in self.words:
            yield word
            if self.waits is not None:
                assert self.waits.wait(30)


class Written(t.NamedTuple):
    """What the page's code has defined, and what it needs."""

    names: dict[str, t.Any]
    push: Push
    client: FlaskClient
    rows: Rows
    model: Model
    threads: Threads

    def run(self, code: str) -> None:
        exec(code, self.names)

    def is_running(self) -> bool:
        run = self.push.running("chat:7")
        return run is not None and run.status == "running"


@pytest.fixture
def page() -> cabc.Iterator[Written]:
    app = Flask("page", instance_path="/nonexistent")
    app.testing = True
    push = Push(app)
    rows, model, threads = Rows(), Model(), Threads()
    names: dict[str, t.Any] = {"app": app, "push": push, "db": rows, "model": model}
    names |= {"Thread": threads, "request": request, "abort": abort, "RunBusy": RunBusy}
    names |= {"Answer": Row, "Job": Row, "read_events": read_events, "uuid4": uuid4}
    names |= {"current_user": SimpleNamespace(id=7), "ai_sdk": ai_sdk, "ag_ui": ag_ui}
    names |= {"time": time}
    yield Written(names, push, app.test_client(), rows, model, threads)
    threads.join()
    push._services().publisher.close()
    push._services().close()


# Answers of a model.


def test_an_answer_is_written_and_stopped(page: Written) -> None:
    page.run(ASK)
    page.model.waits = threading.Event()
    assert page.client.post("/ask", data={"question": "Why?"}).status_code == 202
    until(page.is_running)
    assert page.client.post("/stop").status_code == 204
    page.model.waits.set()
    page.threads.join()
    assert page.push.running("chat:7") is None
    assert page.model.asked == ["Why?"]


def test_an_answer_is_saved_before_its_end(page: Written) -> None:
    page.run(SAVE)
    page.run(SHOW)

    def render(name: str, **values: t.Any) -> str:
        assert name == "chat.html"
        return render_template_string(CHAT_HTML, **values)

    def select(kind: type[Row]) -> t.Any:
        return SimpleNamespace(filter_by=lambda chat: chat)

    page.names.update({"render_template": render, "select": select})
    page.model.waits = threading.Event()
    asked = {"question": "Why?"}
    answer = page.client.post("/chats/7/ask", data=asked)
    assert (answer.status_code, answer.get_json()) == (202, {"answer": 1})
    assert page.client.post("/chats/7/ask", data=asked).status_code == 409
    html = page.client.get("/chats/7").text
    assert re.findall('id="(.*?)".*data-follow="(.*?)"', html) == [
        ("answer-1", "1"),
        ("answer-2", "2"),
    ]
    until(page.is_running)
    with page.client.get("/answers/1/follow") as response:
        assert [event.data for event in read_events(response, 1)] == ["Hel"]
    assert page.client.get("/answers/2/follow").status_code == 204
    page.model.waits.set()
    page.threads.join()
    assert page.push.running("chat:7") is None
    assert page.rows.committed == ["Hello", None]
    html = page.client.get("/chats/7").text
    assert re.findall('id="(.*?)"', html) == ["answer-1", "answer-2"]
    assert "Hello" in html and re.findall('data-follow="(.*?)"', html) == ["2"]
    assert page.client.get("/answers/1/follow").status_code == 204


def test_the_beginning_of_an_answer_that_is_stopped_is_saved(page: Written) -> None:
    page.run(SAVE)
    page.run(STOP)
    page.model.waits = threading.Event()
    page.client.post("/chats/7/ask", data={"question": "Why?"})
    until(page.is_running)
    # An old page can't stop it.
    page.client.post("/chats/7/stop", data={"answer": "9"})
    assert page.push.running("chat:7") is not None
    page.client.post("/chats/7/stop", data={"answer": "1"})
    page.model.waits.set()
    page.threads.join()
    assert page.push.run("chat:7", key=1).status == "stopped"
    # It is stopped before its second word, and perhaps before its first one.
    assert page.rows.committed in [[""], ["Hel"]]


def test_a_task_that_is_delivered_again_writes_nothing_twice(page: Written) -> None:
    def shared_task(**options: t.Any) -> t.Any:
        assert options["acks_late"] and options["reject_on_worker_lost"]
        assert options["autoretry_for"] == (RunBusy,) and not options["retry_jitter"]
        return lambda task: task

    page.names["shared_task"] = shared_task
    page.run(SAVE)
    page.run(CELERY)
    task = page.names["write_in_celery"]
    page.rows.add(Row(chat=7, question="Why?"))
    page.push.run("chat:7", key=1)
    task(7, 1)
    assert page.rows.committed == ["Hello"]
    task(7, 1)
    # The row was saved, but its worker was killed before the end of the run.
    page.rows.add(Row(chat=7, question="How?", text="So."))
    page.push.run("chat:7", key=2)
    task(7, 2)
    assert page.model.asked == ["Why?"]


def test_a_task_that_failed_begins_the_next_attempt(page: Written) -> None:
    page.names["shared_task"] = lambda **options: lambda task: task
    page.run(SAVE)
    page.run(CELERY)
    page.rows.add(Row(chat=7, question="Why?"))
    with suppress(OSError), page.push.run("chat:7", key=1):
        raise OSError
    page.names["write_in_celery"](7, 1)
    again = page.push.run("chat:7", key=1)
    assert (again.status, again.attempt) == ("done", 2)
    assert page.rows.committed == ["Hello"]


def test_steps_are_events_and_end_when_they_are_stopped(page: Written) -> None:
    page.run(STEPS)
    done = []

    def do() -> str:
        done.append(True)
        if len(done) == 2:
            page.push.stop("chat:7")
        return "x"

    steps = [SimpleNamespace(name=name, do=do) for name in "abc"]
    run = page.push.run("chat:7")
    page.names["write_steps"](run, steps)
    assert (len(done), run.status) == (2, "stopped")


def test_a_reason_for_the_user_is_given_by_fail(page: Written) -> None:
    page.run(SHORT)
    run = page.push.run("chat:7", key=1)
    with pytest.raises(Exception, match="too long"):
        page.names["write_short"](run, "x" * 10_001)
    assert run.status == "failed" and not page.model.asked


TEST_NAMES = ["test_an_answer_is_followed", "test_a_stop_ends_the_block"]


@pytest.mark.parametrize("name", TEST_NAMES)
def test_the_tests_of_an_app_pass(page: Written, name: str) -> None:
    page.run(ASK)
    page.run(TESTS)
    page.names[name](page.client)


def test_each_page_of_a_chat_gets_the_answer_from_its_first_word(page: Written) -> None:
    page.run(ASK)
    page.model.waits = threading.Event()
    page.client.post("/ask", data={"question": "Why?"})
    with page.client.get("/follow") as first, page.client.get("/follow") as second:
        page.model.waits.set()
        for response in first, second:
            words = [event.data for event in read_events(response, 2)]
            assert words == ["Hel", "lo"]
            (end,) = read_events(response, 1, own=True)
            assert (end.type, end.json["status"]) == ("push:run", "done")


# Progress of a job.


@pytest.fixture
def jobs(page: Written) -> Written:
    queued: list[t.Any] = []
    page.names["queue"] = SimpleNamespace(enqueue=lambda *call: queued.append(call))
    page.names.update({"queued": queued, "store": lambda row: None})
    page.names["read_rows"] = lambda job: [["a"], ["b"]]
    page.run(JOBS)
    page.run(LISTED)
    page.run(ONE)
    assert page.client.post("/jobs", data={"name": "customers.csv"}).status_code == 202
    return page


def listed(page: Written) -> dict[str, t.Any]:
    (event,) = page.push.items("jobs:7").events.values()
    assert event.item == "job:1"
    return t.cast(dict[str, t.Any], event.json)


def test_a_job_is_on_the_list_of_its_user(jobs: Written) -> None:
    (example,) = blocks(DOCS["jobs"], "json")
    assert list(listed(jobs)) == list(json.loads(example))
    assert listed(jobs)["status"] == "queued"
    assert listed(jobs)["info"] == {"name": "customers.csv"}
    assert jobs.names["running_jobs"](7) == []
    ((work, job),) = jobs.names["queued"]
    work(job)
    at_end = listed(jobs)
    assert [at_end[name] for name in ("status", "done", "total")] == ["done", 2, 2]
    assert jobs.rows.committed == ["2 rows"]
    # The queue delivers it again.
    work(job)
    assert listed(jobs) == at_end


def test_a_page_follows_one_job(jobs: Written) -> None:
    with jobs.client.get("/jobs/1/follow") as response:
        jobs.names["work"](1)
        events = read_events(response, 4, own=True)
    assert [event.type for event in events[:3]] == ["push:open", "push:run", "push:run"]
    assert jobs.client.get("/jobs/1/follow").status_code == 204


def test_a_job_that_fails_says_why(jobs: Written) -> None:
    jobs.names["read_rows"] = lambda job: [["a"], []]
    with pytest.raises(Exception, match="Row 2 is empty"):
        jobs.names["work"](1)
    found = listed(jobs)
    assert (found["status"], found["text"]) == ("failed", "Row 2 is empty.")


def test_a_job_is_cancelled_before_and_while_it_runs(jobs: Written) -> None:
    stored = []

    def store(row: t.Any) -> None:
        stored.append(row)
        assert jobs.client.post("/jobs/1/cancel").status_code == 204

    jobs.names["store"] = store
    jobs.names["read_rows"] = lambda job: [["a"]] * 100
    with suppress(RunOver):
        jobs.names["work"](1)
    assert listed(jobs)["status"] == "stopped" and len(stored) < 100
    jobs.client.post("/jobs", data={"name": "later.csv"})
    assert jobs.client.post("/jobs/2/cancel").status_code == 204
    count = len(stored)
    jobs.names["work"](2)
    assert len(stored) == count


def test_the_test_of_a_job_passes(page: Written) -> None:
    page.run(JOB_TEST)
    page.names["test_a_job_shows_its_progress"](page.client)


# AI clients.


def body_of(response: t.Any) -> list[t.Any]:
    """The events of a plain wire, which has nothing else."""
    blocks = [block for block in response.text.split("\n\n") if block.strip(":\n")]
    lines = [block.rpartition("data: ")[2] for block in blocks]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


@pytest.fixture
def saved(page: Written) -> dict[str, str]:
    found: dict[str, str] = {}
    page.names["save"] = found.__setitem__
    page.run(SDK)
    return found


def ask(page: Written, message: str, trigger: str = "submit-message") -> t.Any:
    part = {"type": "text", "text": "Why?"}
    messages = [{"id": message, "role": "user", "parts": [part]}]
    asked = {"id": "7", "messages": messages, "trigger": trigger}
    return page.client.post("/api/chat", json=asked)


def test_a_chat_of_the_ai_sdk_gets_a_message_and_resumes_it(
    page: Written, saved: dict[str, str]
) -> None:
    assert page.client.get("/api/chat/7/stream").status_code == 204
    response = ask(page, "m1")
    assert response.headers["x-vercel-ai-ui-message-stream"] == "v1"
    chunks = body_of(response)
    ((id, text),) = saved.items()
    assert text == "Hello"
    assert chunks == [*ai_sdk.text(["Hel", "lo"], message_id=id), "[DONE]"]
    # A request that is repeated, and one that resumes after the end, get the same.
    assert body_of(ask(page, "m1")) == chunks
    assert body_of(page.client.get("/api/chat/7/stream")) == chunks
    assert page.model.asked == ["Why?"]


def test_a_question_that_is_asked_again_gets_another_answer(
    page: Written, saved: dict[str, str]
) -> None:
    for trigger in "submit-message", "regenerate-message", "regenerate-message":
        assert body_of(ask(page, "m1", trigger))[-1] == "[DONE]"
        page.threads.join()
    assert len(saved) == len(page.model.asked) == 3


def test_a_chat_of_the_ai_sdk_is_stopped(page: Written, saved: dict[str, str]) -> None:
    page.model.waits = threading.Event()
    response = ask(page, "m1")
    until(lambda: page.push.running("chat:7") is not None)
    until(page.is_running)
    assert page.client.post("/api/chat/7/stop").status_code == 204
    assert ask(page, "m2").status_code == 409
    page.model.waits.set()
    abort = {"type": "abort", "reason": "stopped"}
    assert body_of(response)[-2:] == [abort, "[DONE]"]


def test_an_agent_gets_a_run_of_ag_ui(page: Written) -> None:
    page.run(AG_UI)
    messages = [{"id": "m", "role": "user", "content": "Why?"}]
    asked = {"threadId": "t", "runId": "r", "messages": messages}
    events = body_of(page.client.post("/agent", json=asked))
    message = events[1]["messageId"]
    ids = {"thread_id": "t", "run_id": "r", "message_id": message}
    assert events == [*ag_ui.text(["Hel", "lo"], **ids)]


def test_a_completion_of_openai_has_its_chunks_and_its_end(page: Written) -> None:
    page.run(OPENAI)
    messages = [{"role": "user", "content": "Why?"}]
    asked = {"model": "m", "messages": messages, "stream": True}
    *chunks, reason, done = body_of(page.client.post("/v1/chat/completions", json=asked))
    texts = [chunk["choices"][0]["delta"]["content"] for chunk in chunks]
    assert texts == ["Hel", "lo"]
    assert reason["choices"][0]["finish_reason"] == "stop" and done == "[DONE]"
