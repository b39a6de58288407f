"""The rules by which others, mainly web-platform-tests, test an EventSource, as tests of
our
own. They run with our script and with the browser's own, in a page and in workers."""

from __future__ import annotations

import typing as t

import pytest
from support.event_source_realms import everywhere
from support.event_source_realms import KINDS
from support.event_source_realms import pages as pages
from support.event_source_realms import Realm
from support.event_source_realms import realm as realm
from support.event_source_realms import refuse
from support.event_source_realms import servers as servers
from support.event_source_realms import typed
from support.event_source_vectors import VECTORS


def in_pages(test: t.Any) -> t.Any:
    test = pytest.mark.parametrize("kind", KINDS)(test)
    return pytest.mark.parametrize("where", ["page"])(test)


# The interface.


@everywhere
def test_the_class_has_all_names_of_the_interface_and_they_are_enumerable(
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
def test_only_the_handlers_can_be_set(kind: str, realm: Realm) -> None:
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
def test_a_handler_is_an_object_or_null(kind: str, realm: Realm) -> None:
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
def test_listeners_can_be_added_and_removed(kind: str, realm: Realm) -> None:
    code = """async () => {
        const source = new EventSource("/s"), received = [];
        const gone = () => received.push("gone");
        source.addEventListener("message", gone);
        source.addEventListener("message", {handleEvent: () => received.push("object")});
        source.onmessage = () => received.push("handler");
        source.addEventListener("message", () => received.push("last"));
        source.removeEventListener("message", gone);
        const event = await next(source, "message");
        return [received, event.target == source, source instanceof EventTarget];
    }"""
    assert realm.run(kind, code) == [["object", "handler", "last"], True, True]


@everywhere
def test_all_instances_have_what_is_added_to_the_prototype(kind: str, realm: Realm) -> None:
    code = """() => {
        EventSource.prototype.five = () => 5;
        const source = new EventSource("/s");
        const found = [source.five(), source instanceof EventSource, "EventSource" in self];
        delete EventSource.prototype.five;
        return found;
    }"""
    assert realm.run(kind, code) == [5, True, True]


@everywhere
def test_the_constructor_needs_new_and_a_url(kind: str, realm: Realm) -> None:
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
def test_the_options_may_be_missing_null_or_empty(kind: str, realm: Realm) -> None:
    code = """() => [[], [null], [undefined], [{}], [{withCredentials: 1}]].map(given =>
        new EventSource("/s", ...given).withCredentials)"""
    assert realm.run(kind, code) == [False, False, False, False, True]


# The address.


@everywhere
def test_the_url_is_relative_to_the_document(kind: str, realm: Realm) -> None:
    code = """async () => {
        const source = new EventSource("s?x#y");
        const {data} = await next(source, "message");
        return [source.url, data];
    }"""
    assert realm.run(kind, code) == [f"{realm.here.url}/s?x#y", "a"]


@everywhere
def test_an_empty_url_is_the_url_of_the_document(kind: str, realm: Realm) -> None:
    assert realm.run(kind, "() => new EventSource('').url == location.href")


@everywhere
def test_any_argument_is_converted_to_a_string(kind: str, realm: Realm) -> None:
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
def test_a_url_that_cannot_be_requested_closes_the_event_source(
    url: str, kind: str, realm: Realm
) -> None:
    code = """async url => {
        const source = new EventSource(url), event = await next(source, "error");
        return [source.readyState, "data" in event];
    }"""
    assert realm.run(kind, code, url) == [2, False]


@in_pages
def test_setting_the_domain_of_the_document_changes_nothing(
    kind: str, realm: Realm
) -> None:
    code = """async () => {
        document.domain = document.domain;
        return (await next(new EventSource("s"), "message")).data;
    }"""
    assert realm.run(kind, code) == "a"


@in_pages
def test_an_event_source_of_another_window_belongs_to_that_window(
    kind: str, realm: Realm
) -> None:
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


# Opening and closing.


@everywhere
def test_the_state_is_connecting_then_open_then_closed(kind: str, realm: Realm) -> None:
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
def test_an_event_source_closed_at_once_never_opens(kind: str, realm: Realm) -> None:
    code = """async () => {
        const source = new EventSource("/s"), received = [];
        for (const type of ["open", "message", "error"])
            source.addEventListener(type, () => received.push(type));
        source.close();
        await next(new EventSource("/s"), "message");
        return [source.readyState, received];
    }"""
    assert realm.run(kind, code) == [2, []]


@everywhere
def test_an_event_source_closed_when_it_opens_dispatches_nothing_more(
    kind: str, realm: Realm
) -> None:
    realm.answer(b"retry: 1\ndata: a\n\n")
    code = """async () => {
        const source = new EventSource("/s"), received = [];
        source.onopen = function () { this.close() };
        source.onmessage = source.onerror = event => received.push(event.type);
        await next(source, "open");
        await next(new EventSource("/s"), "error");
        return [source.readyState, received];
    }"""
    assert realm.run(kind, code) == [2, []]


@everywhere
@pytest.mark.parametrize("type", ["open", "error"])
def test_open_and_error_are_events_without_data(type: str, kind: str, realm: Realm) -> None:
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
def test_any_status_but_200_closes_the_event_source(
    code: int, kind: str, realm: Realm
) -> None:
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
def test_the_content_type_decides_and_its_parameters_do_not(
    type: str, opens: bool, kind: str, realm: Realm
) -> None:
    realm.answer(typed(type))
    code = """async () => {
        const source = new EventSource("/s");
        return Promise.race(["open", "error"].map(async type =>
            [(await next(source, type)).type, source.readyState]));
    }"""
    assert realm.run(kind, code) == (["open", 1] if opens else ["error", 2])


# Reconnecting.

#: Returns the events and errors until the server refuses.
UNTIL_CLOSED = """() => new Promise(done => {
    const source = new EventSource("/s"), received = [];
    source.onmessage = ({data, lastEventId}) => received.push([data, lastEventId]);
    source.onerror = () => {
        received.push(source.readyState);
        if (source.readyState == 2) done(received);
    };
})"""


@everywhere
def test_the_event_source_reconnects_until_it_is_refused(kind: str, realm: Realm) -> None:
    realm.answer(b"retry: 1\ndata: a\n\n", b"data: b\n\n", refuse(204))
    assert realm.run(kind, UNTIL_CLOSED) == [["a", ""], 0, ["b", ""], 0, 2]
    assert len(realm.asked()) == 3


@everywhere
def test_the_event_source_reconnects_after_a_stream_without_events(
    kind: str, realm: Realm
) -> None:
    realm.answer(b"retry: 1\n", b"", b"data: a\n\n", refuse(204))
    assert realm.run(kind, UNTIL_CLOSED) == [0, 0, ["a", ""], 0, 2]


@everywhere
@pytest.mark.parametrize("line", [b"retry", b"retry:", b"retry: 9000000x", b"retry: -9"])
def test_an_invalid_retry_changes_nothing(line: bytes, kind: str, realm: Realm) -> None:
    realm.answer(b"retry: 1\n" + line + b"\ndata: a\n\n", refuse(204))
    assert realm.run(kind, UNTIL_CLOSED) == [["a", ""], 0, 2]


@everywhere
def test_an_id_is_kept_until_the_next_id(kind: str, realm: Realm) -> None:
    first = b"retry: 1\nid: 1\ndata: a\n\ndata: b\n\n"
    realm.answer(first, b"data: c\n\nid: 2\ndata: d\n\ndata: e\n\n", refuse(204))
    received = [["a", "1"], ["b", "1"], 0, ["c", "1"], ["d", "2"], ["e", "2"], 0, 2]
    assert realm.run(kind, UNTIL_CLOSED) == received
    assert [one.headers["Last-Event-ID"] for one in realm.asked()] == [None, "1", "2"]


@everywhere
@pytest.mark.parametrize("line", [b"id", b"id:", b"id: "])
def test_an_empty_id_resets_the_last_id(line: bytes, kind: str, realm: Realm) -> None:
    body = b"retry: 1\nid: 1\ndata: a\n\n" + line + b"\ndata: b\n\ndata: c\n\n"
    realm.answer(body, refuse(204))
    assert realm.run(kind, UNTIL_CLOSED) == [["a", "1"], ["b", ""], ["c", ""], 0, 2]
    assert [one.headers["Last-Event-ID"] for one in realm.asked()] == [None, None]


@everywhere
def test_an_id_with_nul_is_ignored(kind: str, realm: Realm) -> None:
    body = b"retry: 1\nid: 1\ndata: a\n\nid: 2\0\ndata: b\n\n"
    realm.answer(body, refuse(204))
    assert realm.run(kind, UNTIL_CLOSED) == [["a", "1"], ["b", "1"], 0, 2]
    assert [one.headers["Last-Event-ID"] for one in realm.asked()] == [None, "1"]


@everywhere
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed(code: int, kind: str, realm: Realm) -> None:
    realm.answer(lambda asked: asked.head(code, Location="/moved"))
    realm.answer(b"retry: 1\ndata: a\n\n", b"data: b\n\n", path="/moved")
    script = """async () => {
        const source = new EventSource("/s"), received = [];
        await next(source, "open");
        for (const _ of "ab") received.push((await next(source, "message")).data);
        return [source.url, received];
    }"""
    assert realm.run(kind, script) == [f"{realm.here.url}/s", ["a", "b"]]


# Reading.


@everywhere
def test_streams_are_read_the_same_everywhere(kind: str, realm: Realm) -> None:
    code = """() => new Promise(done => {
        const source = new EventSource("/s"), received = [];
        const receive = ({type, data, lastEventId}) =>
            data == null || received.push([type, data, lastEventId]);
        for (const type of ["message", "x", "open", "error"])
            source.addEventListener(type, receive);
        source.addEventListener("error", ({data}) => data == null && done(received));
    })"""
    for name, (sent, expected) in VECTORS.items():
        realm.answer(sent)
        assert realm.run(kind, code) == [*map(list, expected)], name
