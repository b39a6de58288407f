"""What the pages about runs show for the browser, in Chromium."""

from __future__ import annotations

import collections.abc as cabc
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Page
from support.browser import Windows
from support.pages import blocks
from support.pages import DOCS
from support.run_wire_server import RunWireServer
from support.servers import TESTS
from support.servers import until

FIRST, SHOW, PLAIN = blocks(DOCS["answers"], "js")
(HOOK,) = blocks(DOCS["answers"], "jsx")
LIST, ONE = blocks(DOCS["jobs"], "js")


@pytest.fixture
def runs() -> cabc.Iterator[RunWireServer]:
    server = RunWireServer()
    yield server
    server.close()


def open_page(runs: RunWireServer, windows: Windows, body: str, code: str) -> Page:
    page = windows.open(f"{runs.url}/")
    page.evaluate("body => document.body.innerHTML = body", body)
    page.evaluate("window.answer = document.getElementById('answer')")
    if code:
        page.add_script_tag(content=code, type="module")
    return page


def show(runs: RunWireServer, windows: Windows) -> Page:
    """A page that shows an answer, of which the view has a row."""
    page = open_page(runs, windows, '<p id="answer-1" data-follow="1"></p>', "")
    row = '<p id="answer-1">What the row has.</p>'
    page.route("**/answers/1", lambda route: route.fulfill(body=row))
    imports, _, _ = FIRST.partition("\n")
    page.add_script_tag(content=f"{imports}\n{SHOW}", type="module")
    return page


def answers(page: Page, text: str) -> None:
    page.wait_for_function("text => document.body.innerText == text", arg=text)


def test_the_page_shows_an_answer_as_it_is_written(
    runs: RunWireServer, windows: Windows
) -> None:
    runs.begin()
    code = f"{FIRST}\nwindow.end = end;"
    page = open_page(runs, windows, '<p id="answer"></p>', code)
    runs.write("Hel", "lo")
    answers(page, "Hello")
    runs.cut()
    runs.end("done")
    page.wait_for_function("window.end?.status == 'done'")


@pytest.mark.parametrize("status", ["done", "lost"])
def test_the_page_shows_the_row_at_the_end(
    status: str, runs: RunWireServer, windows: Windows
) -> None:
    runs.begin()
    page = show(runs, windows)
    runs.write("Hel")
    answers(page, "Hel")
    runs.end("done" if status == "done" else "lost")
    answers(page, "What the row has.")


def test_the_page_shows_the_row_if_nothing_is_written(
    runs: RunWireServer, windows: Windows
) -> None:
    page = show(runs, windows)
    answers(page, "What the row has.")


def test_an_event_source_alone_shows_an_answer(
    runs: RunWireServer, windows: Windows
) -> None:
    runs.begin()
    runs.write("old")
    code = f"window.ends = []; window.finished = (run) => ends.push(run?.status);\n{PLAIN}"
    page = open_page(runs, windows, '<p id="answer"></p>', code)
    answers(page, "old")
    # The next attempt begins while the page reconnects.
    runs.end("lost")
    page.wait_for_function("ends.length")
    assert page.evaluate("ends") == ["lost"]
    runs.enter()
    page = open_page(runs, windows, '<p id="answer"></p>', code)
    runs.write("new")
    answers(page, "new")
    runs.cut()
    runs.write("er")
    answers(page, "newer")
    runs.end("done")
    page.wait_for_function("ends.length")
    assert page.evaluate("ends") == ["done"]
    page = open_page(runs, windows, '<p id="answer"></p>', code)
    page.wait_for_function("ends.length")
    assert page.evaluate("ends") == [None]


def test_a_page_shows_the_progress_of_one_job(
    runs: RunWireServer, windows: Windows
) -> None:
    runs.begin()
    code = f"window.bars = []; window.bar = (...now) => bars.push(now);\n{ONE}\nbar(end);"
    page = open_page(runs, windows, "", code)
    until(lambda: runs.requests)
    runs.progress(40, 100, "importing")
    page.wait_for_function("bars.length == 1")
    runs.end("failed", "Row 41 is empty.")
    page.wait_for_function("bars.length == 2")
    (share, text), (end,) = page.evaluate("bars")
    assert (share, text, end["text"]) == (0.4, "importing", "Row 41 is empty.")


def test_a_list_of_jobs_draws_each_that_has_changed(
    runs: RunWireServer, windows: Windows
) -> None:
    """Its items come from a stream, and here from a fake of items.js."""
    fake = """const connect = () => ({items: (channel, callback) => {
        const jobs = new Map([["job:31", {status: "running"}]]);
        callback(jobs, new Set(jobs.keys()));
    }});
    window.draw = (...drawn) => window.drawn = drawn;
    """
    body = re.sub("^import .*$", "", LIST, flags=re.MULTILINE)
    page = open_page(runs, windows, "", fake + body)
    page.wait_for_function("window.drawn")
    assert page.evaluate("drawn") == ["job:31", {"status": "running"}]


# The hook, in React.

COMPONENT = """
import { createElement, StrictMode } from "react";
import { createRoot } from "react-dom/client";

function Answer() {
  const [url, setUrl] = useState("/chats/7/follow");
  window.setUrl = setUrl;
  const { text, end } = useAnswer(url);
  if (end === null) return `${text} none`;
  return end ? `${text} ${end.status} ${end.text}` : `${text} …`;
}
const answer = createElement(StrictMode, null, createElement(Answer));
createRoot(document.body).render(answer);
"""


@pytest.fixture(scope="module")
def component(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hook of the page, and what shows its answer, as one script."""
    directory = tmp_path_factory.mktemp("hook")
    code = HOOK.replace('"flask-push/follow"', '"/push/follow.js"')
    (directory / "hook.jsx").write_text(code + COMPONENT)
    options = ["--bundle", "--format=esm", "--external:/push/*", "--outfile=hook.js"]
    node = Path(sys.executable).parent / "node"
    modules = TESTS / "clients" / "node_modules"
    esbuild = [str(node), str(modules / "esbuild" / "bin" / "esbuild")]
    subprocess.run(
        [*esbuild, "hook.jsx", *options],
        cwd=directory,
        env={**os.environ, "NODE_PATH": str(modules)},
        check=True,
        capture_output=True,
    )
    return (directory / "hook.js").read_text()


def test_the_hook_shows_an_answer_and_its_end(
    component: str, runs: RunWireServer, windows: Windows
) -> None:
    runs.begin()
    runs.write("Hel")
    page = open_page(runs, windows, "", component)
    answers(page, "Hel …")
    runs.cut()
    runs.write("lo")
    answers(page, "Hello …")
    runs.end("failed", "Too long.")
    answers(page, "Hello failed Too long.")
    page.evaluate("setUrl('/chats/8/follow')")
    answers(page, "none")
    with runs.refusing(403):
        page.evaluate("setUrl('/chats/9/follow')")
        answers(page, "failed the view answered 403")


def test_the_value_of_a_listed_job_is_json() -> None:
    (example,) = blocks(DOCS["jobs"], "json")
    assert json.loads(example)["done"] == 40
