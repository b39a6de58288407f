"""An answer is on a stream, in the app's database, or in both: a page that is loaded at any
moment shows it whole, and once (laws R66 and R67)."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import sqlite3
import typing as t
from pathlib import Path

import pytest
from flask import Flask
from flask import Response
from werkzeug.test import TestResponse

from flask_push import Push
from flask_push import RunBusy
from flask_push import sse
from flask_push.testing import lose

WORDS = [f"word{n} " for n in range(13)]
WHOLE = "".join(WORDS)
# What the holder has done after so many steps.
COMMITTED, ENDED = len(WORDS) + 4, len(WORDS) + 5


class Site:
    """The app of the page about answers, with a database of its own."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "answers.db"
        with self.database() as database:
            database.execute("CREATE TABLE answers (id TEXT PRIMARY KEY, text TEXT)")
        self.app = Flask("site", instance_path=str(directory))
        self.app.testing = True
        self.app.config["PUSH_BROKER_URL"] = f"sqlite://{directory}/push.db"
        self.push = Push(self.app)
        self.client = self.app.test_client()
        self.saved = 0

        @self.app.get("/show")
        def show() -> dict[str, t.Any]:
            running = self.push.running("chat")
            return {"running": running and running.key, "rows": self.rows()}

        @self.app.get("/follow")
        def follow() -> Response:
            return self.push.follow("chat")

    @contextlib.contextmanager
    def database(self) -> cabc.Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self.path)
        try:
            yield database
        finally:
            # Without a commit, nothing is saved.
            database.close()

    def rows(self) -> dict[str, str]:
        with self.database() as database:
            return dict(database.execute("SELECT id, text FROM answers").fetchall())

    def answer(self) -> cabc.Iterator[None]:
        """Write the answer, step by step, as a task that may be delivered twice."""
        run = self.push.run("chat", key="7")
        yield
        if run.over or run.id in self.rows():
            return
        with run, self.database() as database:
            yield
            for word in WORDS:
                run.write(word)
                yield
            database.execute("INSERT INTO answers VALUES (?, ?)", [run.id, WHOLE])
            yield
            database.commit()
            self.saved += 1
            yield

    def close(self) -> None:
        self.push._states[self.app].services().close()


@pytest.fixture
def site(tmp_path: Path) -> cabc.Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


class Page(t.NamedTuple):
    """A page that has asked for the stream of the answer that it saw running."""

    response: TestResponse
    #: The rows when it was answered.
    rows: dict[str, str]


def load(site: Site, shown: list[t.Any], pages: list[Page]) -> None:
    """Load a page, and let each that was loaded before now begin to follow."""
    shown.append(site.client.get("/show").json)
    for each in shown:
        if each["running"]:
            response = site.client.get("/follow")
            pages.append(Page(response, site.rows()))


def read(page: Page) -> tuple[str, list[str]]:
    """The text on the stream of a page, and the statuses of its run."""
    events = list(sse.Parser().feed(page.response.data))
    page.response.close()
    statuses = [e.json["status"] for e in events if e.type == "push:run"]
    return "".join(e.data for e in events if e.type == "message"), statuses


def test_a_page_that_is_loaded_at_any_moment_shows_the_answer_whole(site: Site) -> None:
    shown: list[t.Any] = []
    pages: list[Page] = []
    for _ in site.answer():
        load(site, shown, pages)
    load(site, shown, pages)
    assert len(pages) >= 150
    (id,) = site.rows()
    # Not seen: it was committed before.
    assert [each["running"] for each in shown] == ["7"] * (ENDED - 1) + [None]
    assert shown[-1]["rows"] == {id: WHOLE}
    for page in pages:
        if page.response.status_code == 204:
            assert page.rows == {id: WHOLE}
            continue
        text, statuses = read(page)
        assert text == WHOLE, "from its first event"
        assert statuses[-1] == "done" and statuses.count("done") == 1


@pytest.mark.parametrize("killed_after", range(1, ENDED))
def test_an_answer_is_saved_once_whenever_its_process_is_killed(
    site: Site, killed_after: int
) -> None:
    shown: list[t.Any] = []
    pages: list[Page] = []
    first = site.answer()
    for _ in range(killed_after):
        next(first)
        load(site, shown[-1:], pages)
    load(site, shown, pages)
    lose(t.cast(t.Any, site.push.running("chat")))
    saved = site.rows()
    assert bool(saved) == (killed_after >= COMMITTED)
    load(site, shown[:1], pages)
    first.close()  # type: ignore[attr-defined]
    for page in pages:
        if page.response.status_code == 204:
            assert page.rows == saved
            continue
        text, statuses = read(page)
        # The page does not keep this text: the row decides.
        assert WHOLE.startswith(text) and statuses[-1] == "lost"
    for _ in site.answer():
        load(site, [], pages)
    assert list(site.rows().values()) == [WHOLE] and site.saved == 1
    with contextlib.suppress(RunBusy):
        # It is delivered once more.
        list(site.answer())
    assert list(site.rows().values()) == [WHOLE] and site.saved == 1
