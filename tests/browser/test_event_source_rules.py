"""The rules that others test an EventSource by, web-platform-tests first, in words of our
own. The script and the browser's own are asked the same: in a page and in workers."""

from __future__ import annotations

import collections.abc as cabc
import threading
import typing as t

import pytest
from playwright.sync_api import Browser
from playwright.sync_api import Page
from support.browser import Windows
from support.event_source_vectors import Answer
from support.event_source_vectors import Script
from support.event_source_vectors import Scripted
from support.event_source_vectors import VECTORS
from support.servers import until

WHERE = ["page", "worker", "shared worker"]
KINDS = ["PushEventSource", "EventSource"]

#: What there is, wherever code runs: `EventSource` is the one or the other.
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
    """Somewhere to run code in, and the servers it may ask."""

    def __init__(self, where: str, page: Page, here: Scripted, there: Scripted) -> None:
        self.where = where
        self.page = page
        #: The server of the page, and one of another origin and the same site.
        self.here = here
        self.there = there

    def answer(self, *answers: bytes | Answer, path: str = "/s") -> None:
        """One for each request, and the last for all later ones. No answer is a 204."""
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


def after(condition: cabc.Callable[[], t.Any]) -> Answer:
    def answer(asked: Script) -> None:
        until(condition)
        asked.send(b"")

    return answer


def allowed(body: bytes, **headers: str) -> Answer:
    """For other origins."""

    def answer(asked: Script) -> None:
        more = {"Access_Control_Allow_Origin": asked.headers["Origin"], **headers}
        asked.send(body, **more)

    return answer


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


def in_pages(test: t.Any) -> t.Any:
    test = pytest.mark.parametrize("kind", KINDS)(test)
    return pytest.mark.parametrize("where", ["page"])(test)


# What it is made of.


@everywhere
def test_it_has_the_names_of_the_interface_and_they_are_enumerable(
    kind: str, realm: Realm
) -> None:
    constants = {"CONNECTING", "OPEN", "CLOSED"}
    attributes = {"url", "withCredentials", "readyState", "onopen", "onmessage", "onerror"}
    code = """() => {
        const source = new EventSource("/s"), names = [];
        for (const name in source) names.push(name);
        const {CONNECTING, OPEN, CLOSED} = EventSource.prototype;
        return {names, length: EventSource.length, states: [CONNECTING, OPEN, CLOSED]};
    }"""
    found = realm.run(kind, code)
    assert {"close", *attributes, *constants} <= set(found["names"])
    assert found["length"] == 1
    assert found["states"] == [0, 1, 2]


@everywhere
def test_nothing_of_it_can_be_set_but_its_handlers(kind: str, realm: Realm) -> None:
    code = """() => {
        const source = new EventSource("/s"), {url} = source;
        const refused = ["url", "withCredentials", "readyState", "OPEN"].map(name => {
            try {
                (function () { "use strict"; source[name] = 5 })();
            } catch (error) {
                return error.name;
            }
        });
        return [refused, source.url == url, source.readyState, source.OPEN];
    }"""
    assert realm.run(kind, code) == [["TypeError"] * 4, True, 0, 1]


@everywhere
def test_a_handler_is_an_object_or_none(kind: str, realm: Realm) -> None:
    code = """async () => {
        const source = new EventSource("/s"), handler = () => {}, object = {};
        const found = [handler, object, 5, "x", undefined].map(given => {
            source.onmessage = given;
            return source.onmessage === given ? "kept" : source.onmessage;
        });
        source.onmessage = {};
        const {data} = await next(source, "message");
        return [...found, data];
    }"""
    assert realm.run(kind, code) == ["kept", "kept", None, None, None, "a"]


@everywhere
def test_it_is_an_event_target_of_listeners_that_come_and_go(
    kind: str, realm: Realm
) -> None:
    code = """async () => {
        const source = new EventSource("/s"), heard = [];
        const gone = () => heard.push("gone");
        source.addEventListener("message", gone);
        source.addEventListener("message", {handleEvent: () => heard.push("object")});
        source.onmessage = () => heard.push("handler");
        source.addEventListener("message", () => heard.push("last"));
        source.removeEventListener("message", gone);
        const event = await next(source, "message");
        return [heard, event.target == source, source instanceof EventTarget];
    }"""
    assert realm.run(kind, code) == [["object", "handler", "last"], True, True]


@everywhere
def test_what_is_on_its_prototype_all_have(kind: str, realm: Realm) -> None:
    code = """() => {
        EventSource.prototype.five = () => 5;
        const source = new EventSource("/s");
        const found = [source.five(), source instanceof EventSource, "EventSource" in self];
        delete EventSource.prototype.five;
        return found;
    }"""
    assert realm.run(kind, code) == [5, True, True]


@everywhere
def test_it_is_made_by_new_only_and_of_a_url(kind: str, realm: Realm) -> None:
    code = """() => [() => EventSource("/s"), () => new EventSource(),
        () => new EventSource("http://[")].map(make => {
            try {
                make();
            } catch (error) {
                return error.name;
            }
        })"""
    assert realm.run(kind, code) == ["TypeError", "TypeError", "SyntaxError"]
    assert realm.asked() == []


@everywhere
def test_its_options_may_be_left_out_be_nothing_or_be_empty(
    kind: str, realm: Realm
) -> None:
    code = """() => [[], [null], [undefined], [{}], [{withCredentials: 1}]].map(given =>
        new EventSource("/s", ...given).withCredentials)"""
    assert realm.run(kind, code) == [False, False, False, False, True]


# Where it asks.


@everywhere
def test_its_url_is_relative_to_where_it_is(kind: str, realm: Realm) -> None:
    code = """async () => {
        const source = new EventSource("s?x#y");
        const {data} = await next(source, "message");
        return [source.url, data];
    }"""
    assert realm.run(kind, code) == [f"{realm.here.url}/s?x#y", "a"]


@everywhere
def test_an_empty_url_is_where_it_is_itself(kind: str, realm: Realm) -> None:
    assert realm.run(kind, "() => new EventSource('').url == location.href")


@everywhere
def test_whatever_it_is_given_is_taken_as_a_string(kind: str, realm: Realm) -> None:
    code = """async () => {
        const source = new EventSource({toString: () => "/s"});
        const {data} = await next(source, "message");
        const urls = [1, null, undefined, new URL("/x", location)].map(given =>
            new EventSource(given).url.split("/").at(-1));
        return [data, ...urls];
    }"""
    assert realm.run(kind, code) == ["a", "1", "null", "undefined", "x"]


@everywhere
@pytest.mark.parametrize(
    "url",
    ["ftp://example.invalid/", "about:blank", "mailto:who@example.invalid", "javascript:1"],
)
def test_what_no_request_can_be_for_ends_it(url: str, kind: str, realm: Realm) -> None:
    code = """async url => {
        const source = new EventSource(url), event = await next(source, "error");
        return [source.readyState, "data" in event];
    }"""
    assert realm.run(kind, code, url) == [2, False]


@in_pages
def test_another_domain_of_the_document_changes_nothing(kind: str, realm: Realm) -> None:
    code = """async () => {
        document.domain = document.domain;
        return (await next(new EventSource("s"), "message")).data;
    }"""
    assert realm.run(kind, code) == "a"


@in_pages
def test_that_of_another_window_belongs_there(kind: str, realm: Realm) -> None:
    realm.here.answers["/deep/frame"] = typed("text/html", b"<!doctype html>")
    realm.answer(b"data: deep\n\n", path="/deep/s")
    code = """async kind => {
        const frame = document.createElement("iframe");
        frame.src = "/deep/frame";
        await new Promise(done => {
            frame.onload = done;
            document.body.append(frame);
        });
        const there = frame.contentWindow;
        const kinds = {...await there.eval("import('/extras.js')")};
        const source = new (kinds[kind] || there[kind])("s");
        const event = await next(source, "message");
        const theirs = event.constructor == there.MessageEvent;
        source.close();
        frame.remove();
        return [event.data, event instanceof MessageEvent, theirs];
    }"""
    assert realm.run(kind, code, kind) == ["deep", False, True]


# How it opens, and ends.


@everywhere
def test_it_is_connecting_then_open_then_closed(kind: str, realm: Realm) -> None:
    code = """async () => {
        const source = new EventSource("/s"), states = [source.readyState];
        await next(source, "open");
        states.push(source.readyState);
        source.close();
        states.push(source.readyState);
        source.close();
        return [...states, source.readyState];
    }"""
    assert realm.run(kind, code) == [0, 1, 2, 2]


@everywhere
def test_closed_at_once_it_is_never_open(kind: str, realm: Realm) -> None:
    code = """async () => {
        const source = new EventSource("/s"), heard = [];
        for (const type of ["open", "message", "error"])
            source.addEventListener(type, () => heard.push(type));
        source.close();
        await next(new EventSource("/s"), "message");
        return [source.readyState, heard];
    }"""
    assert realm.run(kind, code) == [2, []]


@everywhere
def test_closed_as_it_opens_it_says_nothing_more(kind: str, realm: Realm) -> None:
    realm.answer(b"retry: 1\ndata: a\n\n")
    code = """async () => {
        const source = new EventSource("/s"), heard = [];
        source.onopen = function () { this.close() };
        source.onmessage = source.onerror = event => heard.push(event.type);
        await next(source, "open");
        await next(new EventSource("/s"), "error");
        return [source.readyState, heard];
    }"""
    assert realm.run(kind, code) == [2, []]


@everywhere
@pytest.mark.parametrize("type", ["open", "error"])
def test_that_it_opens_or_ends_is_an_event_without_data(
    type: str, kind: str, realm: Realm
) -> None:
    code = """async type => {
        const source = new EventSource("/s");
        return new Promise(done => source["on" + type] = function (event) {
            const {bubbles, cancelable, constructor: {name}} = event;
            done([event.type, name, "data" in event, bubbles, cancelable, this == source]);
        });
    }"""
    assert realm.run(kind, code, type) == [type, "Event", False, False, False, True]


@everywhere
def test_a_message_is_an_event_with_data_an_id_and_an_origin(
    kind: str, realm: Realm
) -> None:
    realm.answer(b"id: 7\ndata: a\n\n")
    code = """async () => {
        const source = new EventSource("/s");
        return new Promise(done => source.onmessage = function (event) {
            const {data, lastEventId, origin, bubbles, cancelable} = event;
            const kind = event.constructor.name;
            done([kind, data, lastEventId, origin, bubbles, cancelable, this == source]);
        });
    }"""
    expected = ["MessageEvent", "a", "7", realm.here.url, False, False, True]
    assert realm.run(kind, code) == expected


@everywhere
@pytest.mark.parametrize("code", [204, 205, 210, 299, 404, 410, 503])
def test_any_status_but_200_ends_it(code: int, kind: str, realm: Realm) -> None:
    realm.answer(refuse(code))
    script = """async () => {
        const source = new EventSource("/s");
        source.onopen = source.onmessage = () => { throw new Error("it was open") };
        await next(source, "error");
        return source.readyState;
    }"""
    assert realm.run(kind, script) == 2


@everywhere
@pytest.mark.parametrize(
    ("type", "opens"),
    [
        ("text/event-stream;", True),
        ("text/event-stream; ", True),
        ("text/event-stream;x=y", True),
        ("text/x-bogus", False),
        ("x bogus", False),
        ("text/event-stream-x", False),
    ],
)
def test_the_type_says_whether_it_opens_and_its_parameters_do_not(
    type: str, opens: bool, kind: str, realm: Realm
) -> None:
    realm.answer(typed(type))
    code = """async () => {
        const source = new EventSource("/s");
        return Promise.race(["open", "error"].map(async type =>
            [(await next(source, type)).type, source.readyState]));
    }"""
    assert realm.run(kind, code) == (["open", 1] if opens else ["error", 2])


# How it comes back.

#: What is heard until it is refused.
UNTIL_CLOSED = """() => new Promise(done => {
    const source = new EventSource("/s"), heard = [];
    source.onmessage = ({data, lastEventId}) => heard.push([data, lastEventId]);
    source.onerror = () => {
        heard.push(source.readyState);
        if (source.readyState == 2) done(heard);
    };
})"""


@everywhere
def test_it_comes_back_until_it_is_refused(kind: str, realm: Realm) -> None:
    realm.answer(b"retry: 1\ndata: a\n\n", b"data: b\n\n", refuse(204))
    assert realm.run(kind, UNTIL_CLOSED) == [["a", ""], 0, ["b", ""], 0, 2]
    assert len(realm.asked()) == 3


@everywhere
def test_it_comes_back_to_what_had_no_event(kind: str, realm: Realm) -> None:
    realm.answer(b"retry: 1\n", b"", b"data: a\n\n", refuse(204))
    assert realm.run(kind, UNTIL_CLOSED) == [0, 0, ["a", ""], 0, 2]


@everywhere
@pytest.mark.parametrize("line", [b"retry", b"retry:", b"retry: 9000000x", b"retry: -9"])
def test_what_is_no_time_changes_none(line: bytes, kind: str, realm: Realm) -> None:
    realm.answer(b"retry: 1\n" + line + b"\ndata: a\n\n", refuse(204))
    assert realm.run(kind, UNTIL_CLOSED) == [["a", ""], 0, 2]


@everywhere
def test_an_id_lasts_until_there_is_another(kind: str, realm: Realm) -> None:
    first = b"retry: 1\nid: 1\ndata: a\n\ndata: b\n\n"
    realm.answer(first, b"data: c\n\nid: 2\ndata: d\n\ndata: e\n\n", refuse(204))
    heard = [["a", "1"], ["b", "1"], 0, ["c", "1"], ["d", "2"], ["e", "2"], 0, 2]
    assert realm.run(kind, UNTIL_CLOSED) == heard
    assert [one.headers["Last-Event-ID"] for one in realm.asked()] == [None, "1", "2"]


@everywhere
@pytest.mark.parametrize("line", [b"id", b"id:", b"id: "])
def test_an_id_without_a_value_is_none_from_then_on(
    line: bytes, kind: str, realm: Realm
) -> None:
    body = b"retry: 1\nid: 1\ndata: a\n\n" + line + b"\ndata: b\n\ndata: c\n\n"
    realm.answer(body, refuse(204))
    assert realm.run(kind, UNTIL_CLOSED) == [["a", "1"], ["b", ""], ["c", ""], 0, 2]
    assert [one.headers["Last-Event-ID"] for one in realm.asked()] == [None, None]


@everywhere
def test_an_id_with_nul_is_none_at_all(kind: str, realm: Realm) -> None:
    body = b"retry: 1\nid: 1\ndata: a\n\nid: 2\0\ndata: b\n\n"
    realm.answer(body, refuse(204))
    assert realm.run(kind, UNTIL_CLOSED) == [["a", "1"], ["b", "1"], 0, 2]
    assert [one.headers["Last-Event-ID"] for one in realm.asked()] == [None, "1"]


@everywhere
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_it_is_redirected_and_goes_on(code: int, kind: str, realm: Realm) -> None:
    realm.answer(lambda asked: asked.head(code, Location="/moved"))
    realm.answer(b"retry: 1\ndata: a\n\n", b"data: b\n\n", path="/moved")
    script = """async () => {
        const source = new EventSource("/s"), heard = [];
        await next(source, "open");
        for (const _ of "ab") heard.push((await next(source, "message")).data);
        return [source.url, heard];
    }"""
    assert realm.run(kind, script) == [f"{realm.here.url}/s", ["a", "b"]]


# How it reads.


@everywhere
def test_streams_are_read_the_same_everywhere(kind: str, realm: Realm) -> None:
    code = """() => new Promise(done => {
        const source = new EventSource("/s"), heard = [];
        const hear = ({type, data, lastEventId}) =>
            data == null || heard.push([type, data, lastEventId]);
        for (const type of ["message", "x", "open", "error"])
            source.addEventListener(type, hear);
        source.addEventListener("error", ({data}) => data == null && done(heard));
    })"""
    for name, (sent, expected) in VECTORS.items():
        realm.answer(sent)
        assert realm.run(kind, code) == [*map(list, expected)], name


# What it asks with.


@everywhere
def test_it_asks_for_a_stream_that_no_cache_has(kind: str, realm: Realm) -> None:
    realm.run(kind, "async () => { await next(new EventSource('/s'), 'error') }")
    (asked,) = realm.asked()
    assert asked.command == "GET"
    assert asked.headers["Accept"] == "text/event-stream"
    assert asked.headers["Cache-Control"] == asked.headers["Pragma"] == "no-cache"


@everywhere
def test_another_origin_is_heard_if_it_allows_it(kind: str, realm: Realm) -> None:
    answer = allowed(b"data: a\n\n", Access_Control_Allow_Credentials="true")
    realm.answer(answer)
    realm.here.answers["/s"] = lambda asked: asked.head(302, Location=f"{there}/s")
    there = realm.there.url
    code = """async urls => Promise.all(urls.map(async url => {
        const source = new EventSource(url, {withCredentials: true});
        const {data, origin} = await next(source, "message");
        return [data, origin];
    }))"""
    # By itself, and from here.
    expected = [["a", there], ["a", there]]
    assert realm.run(kind, code, [f"{there}/s", "/s"]) == expected
    assert {one.headers["Cache-Control"] for one in realm.asked(realm.there)} == {
        "no-cache"
    }


@everywhere
@pytest.mark.parametrize("allows", [None, "", "http://example.invalid"])
def test_another_origin_that_does_not_allow_it_ends_it(
    allows: str | None, kind: str, realm: Realm
) -> None:
    headers = {} if allows is None else {"Access_Control_Allow_Origin": allows}
    realm.answer(lambda asked: asked.send(b"data: a\n\n", **headers))
    code = """async url => {
        const source = new EventSource(url);
        source.onopen = source.onmessage = () => { throw new Error("it was open") };
        await next(source, "error");
        return source.readyState;
    }"""
    assert realm.run(kind, code, f"{realm.there.url}/s") == 2


@everywhere
@pytest.mark.parametrize(
    ("options", "sent"), [({"withCredentials": True}, "who=me"), ({}, None)]
)
def test_cookies_go_to_another_origin_if_it_is_told_so(
    options: dict[str, bool], sent: str | None, kind: str, realm: Realm
) -> None:
    url = realm.there.url
    realm.page.context.add_cookies([{"name": "who", "value": "me", "url": url}])
    realm.answer(allowed(b"data: a\n\n", Access_Control_Allow_Credentials="true"))
    code = """async ({url, options}) =>
        (await next(new EventSource(url, options), "message")).data"""
    assert realm.run(kind, code, {"url": f"{url}/s", "options": options}) == "a"
    assert [one.headers["Cookie"] for one in realm.asked(realm.there)] == [sent]


# Where the two differ.


@pytest.mark.parametrize("where", WHERE)
def test_a_stream_is_utf_8_whatever_its_type_says(where: str, realm: Realm) -> None:
    body = "data: ok\u2026\n\n".encode()
    realm.answer(typed("text/event-stream;charset=windows-1252", body))
    code = """async () => {
        const source = new EventSource("/s");
        return Promise.race([next(source, "message"), next(source, "error")])
            .then(({data}) => [data, source.readyState]);
    }"""
    assert realm.run("PushEventSource", code) == ["ok\u2026", 1]
    # Chromium's own gives up.
    assert realm.run("EventSource", code) == [None, 2]


@pytest.mark.parametrize("where", WHERE)
def test_to_another_origin_a_script_asks_first_whether_its_id_may_go(
    where: str, realm: Realm
) -> None:
    first = allowed(b"retry: 1\nid: 1\ndata: a\n\n")
    may = allowed(b"", Access_Control_Allow_Headers="Last-Event-ID")
    code = """async url => {
        const source = new EventSource(url), heard = [];
        for (const _ of "ab") heard.push((await next(source, "message")).data);
        return heard;
    }"""
    for kind in KINDS:
        script = kind == "PushEventSource"
        rest = [may] if script else []
        realm.answer(first, *rest, allowed(b"data: b\n\n"))
        realm.there.asked.clear()
        assert realm.run(kind, code, f"{realm.there.url}/s") == ["a", "b"]
        commands = [one.command for one in realm.asked(realm.there)][: 2 + script]
        assert commands == ["GET", *["OPTIONS"] * script, "GET"]
        assert realm.there.asked[1 + script].headers["Last-Event-ID"] == "1"


@pytest.mark.parametrize("where", WHERE)
def test_who_was_allowed_once_is_not_ended_by_another_origin(
    where: str, realm: Realm
) -> None:
    code = """async url => {
        const source = new EventSource(url);
        await next(source, "error");
        await next(source, "error");
        return source.readyState;
    }"""
    for kind in KINDS:
        # As a proxy answers, behind which nobody is.
        realm.answer(allowed(b"retry: 1\ndata: a\n\n"), b"")
        # To a script it is as a cut, which may be over at any time.
        expected = 0 if kind == "PushEventSource" else 2
        assert realm.run(kind, code, f"{realm.there.url}/s") == expected


@pytest.mark.parametrize("where", WHERE)
def test_only_the_browsers_own_events_are_trusted(where: str, realm: Realm) -> None:
    code = "async () => (await next(new EventSource('/s'), 'message')).isTrusted"
    assert [realm.run(kind, code) for kind in KINDS] == [False, True]


@pytest.mark.parametrize("where", ["page"])
def test_a_page_that_is_stopped_is_a_cut_to_a_script(where: str, realm: Realm) -> None:
    enough = threading.Event()

    def hold(asked: Script) -> None:
        enough.wait(60)

    realm.answer(hold)
    code = """async () => {
        const source = new EventSource("/s"), ended = next(source, "error");
        await fetch("/asked");
        stop();
        await ended;
        return source.readyState;
    }"""
    try:
        for kind in KINDS:
            realm.here.asked.clear()
            realm.here.answers["/asked"] = after(lambda: len(realm.here.asked) > 1)
            assert realm.run(kind, code) == (0 if kind == "PushEventSource" else 2)
    finally:
        enough.set()


@pytest.mark.parametrize("where", ["page"])
def test_a_page_in_the_back_forward_cache_has_no_stream(where: str, realm: Realm) -> None:
    left = threading.Event()

    def answer(asked: Script) -> None:
        asked.send(b"id: 1\ndata: a\n\n")
        asked.rfile.read(1)
        left.set()

    realm.answer(answer, b"data: b\n\n")
    code = """async () => {
        const source = new EventSource("/s"), heard = [], persisted = true;
        for (const type of ["open", "message", "error"])
            source.addEventListener(type, ({type, data}) => heard.push(data || type));
        await next(source, "message");
        dispatchEvent(new PageTransitionEvent("pagehide", {persisted}));
        await fetch("/left");
        dispatchEvent(new PageTransitionEvent("pageshow", {persisted}));
        await next(source, "message");
        source.close();
        dispatchEvent(new PageTransitionEvent("pageshow", {persisted}));
        return [heard, source.readyState];
    }"""
    realm.here.answers["/left"] = after(left.is_set)
    # No error, and no time to wait: it has missed nothing.
    assert realm.run("PushEventSource", code) == [["open", "a", "open", "b"], 2]
    streams = [one for one in realm.asked() if one.path == "/s"]
    assert [one.headers["Last-Event-ID"] for one in streams] == [None, "1"]
