"""A page, a worker or a shared worker in which an EventSource is made."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

import pytest
from playwright.sync_api import Browser
from playwright.sync_api import Page

from support.browser import Windows
from support.event_source_vectors import Answer
from support.event_source_vectors import Script
from support.event_source_vectors import Scripted

WHERE = ["page", "worker", "shared worker"]


KINDS = ["PushEventSource", "EventSource"]


#: What code can use in each realm: `EventSource` is our class or the browser's.
REALM = """
import {PushEventSource} from "/extras.js";
const kinds = {PushEventSource, EventSource}, made = [];
const construct = (kind, given) => {
    const source = new kind(...given);
    made.push(source);
    return source;
};
self.next = (source, type) =>
    new Promise(done => source.addEventListener(type, done, {once: true}));
export const run = async ({kind, code, arg}) => {
    self.EventSource = new Proxy(kinds[kind], {construct});
    try {
        return await (0, eval)(code)(arg);
    } finally {
        made.splice(0).forEach(source => source.close());
    }
};
const answer = port => port.onmessage = ({data}) => run(data).then(
    value => port.postMessage({value}),
    error => port.postMessage({error: String(error)}),
);
if (self.SharedWorkerGlobalScope) self.onconnect = ({ports: [port]}) => answer(port);
else if (!self.document) answer(self);
"""


OPEN = """async where => {
    if (where == "page") return window.run = (await import("/realm.js")).run;
    const Kind = where == "worker" ? Worker : SharedWorker;
    const worker = new Kind("/realm.js", {type: "module"});
    const port = worker.port || worker;
    window.run = said => new Promise((done, fail) => {
        worker.onerror = fail;
        port.onmessage = ({data: {value, error}}) => error ? fail(error) : done(value);
        port.postMessage(said);
    });
    await run({kind: "EventSource", code: "() => {}"});
}"""


class Realm:
    """A place where code runs, and the servers that it may request."""

    def __init__(self, where: str, page: Page, here: Scripted, there: Scripted) -> None:
        self.where = where
        self.page = page
        #: The server of the page, and one of another origin and the same site.
        self.here = here
        self.there = there

    def answer(self, *answers: bytes | Answer, path: str = "/s") -> None:
        """Set an answer for each request; the last one is for all later ones, and none is a
        204."""
        rest = list(answers)

        def answer(asked: Script) -> None:
            now = rest.pop(0) if len(rest) > 1 else rest[0] if rest else refuse(204)
            asked.send(now) if isinstance(now, bytes) else now(asked)

        self.here.answers[path] = self.there.answers[path] = answer

    def asked(self, scripted: Scripted | None = None) -> list[Script]:
        return [one for one in (scripted or self.here).asked if "/realm" not in one.path]

    def run(self, kind: str, code: str, arg: t.Any = None) -> t.Any:
        args = {"kind": kind, "code": f"({code})", "arg": arg}
        return self.page.evaluate("said => run(said)", args)


def refuse(code: int) -> Answer:
    return lambda asked: asked.head(code)


def typed(type: str, body: bytes = b"data: a\n\n") -> Answer:
    return lambda asked: asked.send(body, type)


@pytest.fixture(scope="module")
def servers() -> cabc.Iterator[list[Scripted]]:
    servers = [Scripted(), Scripted()]
    yield servers
    for scripted in servers:
        scripted.close()


@pytest.fixture(scope="module")
def pages(browser: Browser, servers: list[Scripted]) -> cabc.Iterator[dict[str, Page]]:
    here, _ = servers
    here.answers["/realm.js"] = typed("text/javascript", REALM.encode())
    windows = Windows(browser)
    pages = {where: windows.open(here.url) for where in WHERE}
    for where, page in pages.items():
        page.evaluate(OPEN, where)
    yield pages
    windows.close()


@pytest.fixture
def realm(
    where: str, servers: list[Scripted], pages: dict[str, Page]
) -> cabc.Iterator[Realm]:
    for scripted in servers:
        scripted.listen(True)
    realm = Realm(where, pages[where], *servers)
    realm.answer(b"data: a\n\n")
    yield realm
    for scripted in servers:
        scripted.listen(False)
        scripted.asked.clear()


def everywhere(test: t.Any) -> t.Any:
    test = pytest.mark.parametrize("kind", KINDS)(test)
    return pytest.mark.parametrize("where", WHERE)(test)
