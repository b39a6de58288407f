"""The page *Answers of a model* promises that a page sees each answer whole and once, at
whatever moment it is loaded (law R66). Here, a page is loaded at each of these moments."""

from __future__ import annotations

import collections.abc as cabc
import itertools
import threading
import typing as t
from contextlib import suppress
from types import SimpleNamespace

import pytest
from flask import abort
from flask import Flask
from flask import request
from flask.testing import FlaskClient
from support.pages import blocks
from support.pages import DOCS
from support.servers import until

from flask_push import Push
from flask_push import RunBusy
from flask_push import RunOver
from flask_push.testing import lose
from flask_push.testing import read_events

SAVE, SHOW = blocks(DOCS["answers"], "python")[1:3]
WORDS = ["Hel", "lo"]
WHOLE = "".join(WORDS)


def nothing() -> None:
    """Let the moment pass."""


class Row:
    """A row, as the app changes it, and as others see it."""

    chat = 0
    question = ""
    text: str | None = None
    seen: str | None = None
    is_committed = False

    def __init__(self, **values: t.Any) -> None:
        vars(self).update(values)


class Rows:
    """The database of an app. Others see what is committed."""

    def __init__(self, moment: cabc.Callable[[str], None]) -> None:
        self.session = self
        self.moment = moment
        self.all_of: list[Row] = []

    def add(self, row: Row) -> None:
        self.all_of.append(row)
        vars(row)["id"] = len(self.all_of)

    def flush(self) -> None:
        self.moment("the row has its id")

    def get_one(self, kind: type[Row], id: int) -> Row:
        return self.all_of[id - 1]

    def commit(self) -> None:
        self.moment("before the commit")
        for row in self.all_of:
            row.seen, row.is_committed = row.text, True
        self.moment("after the commit")


class Story:
    """An app with one chat for each story, of which a page is loaded at some moments."""

    def __init__(self) -> None:
        app = Flask("page", instance_path="/nonexistent")
        app.testing = True
        self.push, self.chat = Push(app), 0
        self.rows = Rows(self.moment)
        names = {"app": app, "push": self.push, "db": self.rows, "model": self.model}
        names |= {"Thread": self.later, "request": request, "abort": abort}
        names |= {"Answer": Row, "RunBusy": RunBusy, "render_template": None}
        names |= {"current_user": SimpleNamespace(id=7)}
        exec(SAVE, names)
        exec(SHOW, names)
        self.client: FlaskClient = app.test_client()
        self.reached: list[str] = []
        self.passing: cabc.Callable[[], None] = nothing

    def close(self) -> None:
        self.push._services().publisher.close()
        self.push._services().close()

    def moment(self, name: str) -> None:
        self.reached.append(name)
        self.passing()

    def later(self, target: t.Any, args: t.Any) -> t.Any:
        """Instead of a thread."""
        return SimpleNamespace(start=lambda: vars(self).update(job=(target, args)))

    def model(self, question: str) -> cabc.Iterator[str]:
        self.moment("before the first word")
        for word in WORDS:
            yield word
            self.moment("after a word")

    def begin(self, passing: cabc.Callable[[], None]) -> None:
        self.chat += 1
        self.reached, self.passing = [], passing

    def ask(self) -> None:
        self.moment("before the question")
        data = {"question": "Why?"}
        assert self.client.post(f"/chats/{self.chat}/ask", data=data).status_code == 202

    def write(self) -> None:
        target, args = vars(self).pop("job")
        self.moment("before the block")
        target(*args)
        self.moment("after the end")


class LoadedPage:
    """A page of a chat, which loads in three steps: the view reads the rows, the page
    follows those without a text, and is cut off before the first word."""

    def __init__(self, story: Story) -> None:
        self.story, self.steps = story, iter([self.read, self.follow, self.resume])
        self.shown: dict[int, str | None] = {}
        self.id = 0
        self.stream: t.Any = None
        #: What came on the stream, and how the run ended.
        self.words, self.end = "", ""

    def step(self) -> None:
        next(self.steps)()

    def read(self) -> None:
        rows = self.story.rows.all_of
        mine = [row for row in rows if row.chat == self.story.chat and row.is_committed]
        self.shown = {vars(row)["id"]: row.seen for row in mine}
        self.id = next((id for id, text in self.shown.items() if text is None), 0)

    def follow(self) -> None:
        if self.id:
            self.ask()

    def resume(self) -> None:
        if self.stream is not None:
            (opened,) = read_events(self.stream, 1, own=True, timeout=30)
            self.stream.close()
            self.ask(**{"Last-Event-ID": opened.id})

    def ask(self, **headers: str) -> None:
        self.stream = self.story.client.get(f"/answers/{self.id}/follow", headers=headers)
        if self.stream.status_code == 204:
            self.finish("204")

    def look(self) -> None:
        """Read to the end, if the run has ended."""
        if self.stream is None or self.story.push.running(f"chat:{self.story.chat}"):
            return
        while self.stream is not None:
            (event,) = read_events(self.stream, 1, own=True, timeout=30)
            if event.type == "message":
                self.words += event.data
            elif event.type == "push:run" and event.json["status"] not in ACTIVE:
                self.finish(event.json["status"])

    def finish(self, end: str) -> None:
        """Show the row, at any end."""
        self.stream.close()
        self.stream, self.end = None, end
        self.shown[self.id] = self.story.rows.all_of[self.id - 1].seen


ACTIVE = "queued", "running", "stopping"


@pytest.fixture
def story() -> cabc.Iterator[Story]:
    story = Story()
    yield story
    story.close()


def test_a_page_sees_the_answer_whole_and_once_whenever_it_is_loaded(story: Story) -> None:
    story.begin(nothing)
    story.ask()
    story.write()
    count = len(story.reached)
    followed, plays = 0, 0
    for moments in itertools.combinations_with_replacement(range(count), 3):
        page = LoadedPage(story)

        def passing(page: LoadedPage = page, moments: t.Any = moments) -> None:
            page.look()
            for _ in range(moments.count(len(story.reached) - 1)):
                page.step()

        story.begin(passing)
        story.ask()
        story.write()
        page.look()
        plays += 1
        followed += bool(page.words)
        where = [story.reached[n] for n in moments]
        # The row had the answer already, or there was none yet.
        ends = {"done": WHOLE, "204": "", "": ""}
        assert page.words == ends[page.end], where
        assert [*page.shown.values()] in ([WHOLE], []), where
    assert plays >= 200 and followed > 20


def test_a_page_shows_what_was_saved_wherever_the_process_is_killed(story: Story) -> None:
    """It stands still at a moment, is taken for dead, and goes on later."""
    story.begin(nothing)
    story.ask()
    story.write()
    moments = story.reached
    begun = moments.index("before the first word")
    for moment in range(begun, len(moments) - 1):
        halted, goes_on = threading.Event(), threading.Event()

        def passing(
            moment: int = moment,
            halted: threading.Event = halted,
            goes_on: threading.Event = goes_on,
        ) -> None:
            if len(story.reached) - 1 == moment:
                halted.set()
                assert goes_on.wait(30)

        story.begin(passing)
        story.ask()
        early, late = LoadedPage(story), LoadedPage(story)
        for _ in range(2):
            early.step()
        thread = threading.Thread(target=suppressed(story.write))
        thread.start()
        try:
            until(halted.is_set)
            for _ in range(2):
                late.step()
            run = story.push.running(f"chat:{story.chat}")
            assert run is not None
            lose(run)
            is_saved = moments[moment] == "after the commit"
            for page in early, late:
                page.look()
                assert WHOLE.startswith(page.words), moments[moment]
                # A page that is loaded after the commit has the row.
                assert page.end == ("" if page is late and is_saved else "lost")
                assert [*page.shown.values()] == [WHOLE if is_saved else None]
        finally:
            goes_on.set()
            thread.join(30)


def suppressed(write: cabc.Callable[[], None]) -> cabc.Callable[[], None]:
    def until_it_notices() -> None:
        with suppress(RunOver):
            write()

    return until_it_notices
