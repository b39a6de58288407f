"""The requests of an EventSource, and where ours differs from the browser's."""

from __future__ import annotations

import collections.abc as cabc
import threading
import typing as t

import pytest
from support.event_source_realms import everywhere
from support.event_source_realms import KINDS
from support.event_source_realms import pages as pages
from support.event_source_realms import Realm
from support.event_source_realms import realm as realm
from support.event_source_realms import servers as servers
from support.event_source_realms import typed
from support.event_source_realms import WHERE
from support.event_source_vectors import Answer
from support.event_source_vectors import Script
from support.servers import until


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


# The request.


@everywhere
def test_the_request_bypasses_all_caches(kind: str, realm: Realm) -> None:
    realm.run(kind, "async () => { await next(new EventSource('/s'), 'error') }")
    (asked,) = realm.asked()
    assert asked.command == "GET"
    assert asked.headers["Accept"] == "text/event-stream"
    assert asked.headers["Cache-Control"] == asked.headers["Pragma"] == "no-cache"


@everywhere
def test_a_stream_of_another_origin_is_read_if_that_allows_it(
    kind: str, realm: Realm
) -> None:
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
def test_another_origin_that_forbids_it_closes_the_event_source(
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
def test_cookies_are_sent_to_another_origin_with_credentials(
    options: dict[str, bool], sent: str | None, kind: str, realm: Realm
) -> None:
    url = realm.there.url
    realm.page.context.add_cookies([{"name": "who", "value": "me", "url": url}])
    realm.answer(allowed(b"data: a\n\n", Access_Control_Allow_Credentials="true"))
    code = """async ({url, options}) =>
        (await next(new EventSource(url, options), "message")).data"""
    assert realm.run(kind, code, {"url": f"{url}/s", "options": options}) == "a"
    assert [one.headers["Cookie"] for one in realm.asked(realm.there)] == [sent]


# Where the two kinds differ.


@pytest.mark.parametrize("where", WHERE)
def test_a_stream_is_utf_8_whatever_charset_its_type_names(
    where: str, realm: Realm
) -> None:
    body = "data: ok\u2026\n\n".encode()
    realm.answer(typed("text/event-stream;charset=windows-1252", body))
    code = """async () => {
        const source = new EventSource("/s");
        return Promise.race([next(source, "message"), next(source, "error")])
            .then(({data}) => [data, source.readyState]);
    }"""
    assert realm.run("PushEventSource", code) == ["ok\u2026", 1]
    # Chromium's own EventSource gives up.
    assert realm.run("EventSource", code) == [None, 2]


@pytest.mark.parametrize("where", WHERE)
def test_a_script_sends_its_id_to_another_origin_after_a_preflight(
    where: str, realm: Realm
) -> None:
    first = allowed(b"retry: 1\nid: 1\ndata: a\n\n")
    may = allowed(b"", Access_Control_Allow_Headers="Last-Event-ID")
    code = """async url => {
        const source = new EventSource(url), received = [];
        for (const _ of "ab") received.push((await next(source, "message")).data);
        return received;
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
def test_a_forbidding_answer_after_an_allowing_one_is_a_cut_to_a_script(
    where: str, realm: Realm
) -> None:
    code = """async url => {
        const source = new EventSource(url);
        await next(source, "error");
        await next(source, "error");
        return source.readyState;
    }"""
    for kind in KINDS:
        # The second answer is that of a proxy whose app is down.
        realm.answer(allowed(b"retry: 1\ndata: a\n\n"), b"")
        # A script can't tell it from a lost connection, so it tries again.
        expected = 0 if kind == "PushEventSource" else 2
        assert realm.run(kind, code, f"{realm.there.url}/s") == expected


@pytest.mark.parametrize("where", WHERE)
def test_only_events_of_the_browser_are_trusted(where: str, realm: Realm) -> None:
    code = "async () => (await next(new EventSource('/s'), 'message')).isTrusted"
    assert [realm.run(kind, code) for kind in KINDS] == [False, True]


@pytest.mark.parametrize("where", ["page"])
def test_stopping_a_page_is_a_cut_to_a_script(where: str, realm: Realm) -> None:
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
        const source = new EventSource("/s"), received = [], persisted = true;
        for (const type of ["open", "message", "error"])
            source.addEventListener(type, ({type, data}) => received.push(data || type));
        await next(source, "message");
        dispatchEvent(new PageTransitionEvent("pagehide", {persisted}));
        await fetch("/left");
        dispatchEvent(new PageTransitionEvent("pageshow", {persisted}));
        await next(source, "message");
        source.close();
        dispatchEvent(new PageTransitionEvent("pageshow", {persisted}));
        return [received, source.readyState];
    }"""
    realm.here.answers["/left"] = after(left.is_set)
    # There was no error and no wait: the page has missed nothing.
    assert realm.run("PushEventSource", code) == [["open", "a", "open", "b"], 2]
    streams = [one for one in realm.asked() if one.path == "/s"]
    assert [one.headers["Last-Event-ID"] for one in streams] == [None, "1"]
