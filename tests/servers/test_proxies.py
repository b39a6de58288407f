"""Each proxy of the page *Proxies*, with the page's own configuration, before gunicorn."""

from __future__ import annotations

import collections.abc as cabc
import re
from pathlib import Path

import pytest
from support.browser import Windows
from support.servers import end_hubs
from support.servers import until
from support.web_proxies import certificate as certificate
from support.web_proxies import have_left
from support.web_proxies import PLAIN
from support.web_proxies import set_up
from support.web_proxies import Stage
from support.web_proxies import TLS
from support.web_proxies import Way
from support.web_proxies import WAYS


@pytest.fixture(scope="module", params=WAYS, ids=str)
def stage(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    certificate: Path,
) -> cabc.Iterator[Stage]:
    directory = tmp_path_factory.mktemp("app")
    with set_up(request.param, directory, certificate, PUSH_HUB_LINGER=60) as stage:
        yield stage


@pytest.mark.parametrize("coded", [False, True], ids=["plain", "gzip"])
def test_each_event_arrives_before_the_next_is_published(stage: Stage, coded: bool) -> None:
    more = ["--compressed"] if coded else []
    # The stream opens before there is any event.
    readers = [stage.proxy.stream("a", "b", more=more).opened() for _ in range(3)]
    for n in range(20):
        stage.app.publish("ab"[n % 2], f"{n}")
        for reader in readers:
            assert reader.read_data(n + 1) == [str(i) for i in range(n + 1)]
    coding = "gzip" if coded and stage.way.compresses else None
    for reader in readers:
        assert reader.headers.get("content-encoding") == coding
        assert not reader.gaps
        reader.close()
    have_left(stage, "a")


def test_the_response_is_the_views(stage: Stage) -> None:
    reader = stage.proxy.stream("a").opened()
    assert reader.head.startswith(b"HTTP/2 " if stage.way.tls else b"HTTP/1.1 ")
    assert reader.status == 200
    assert reader.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reader.headers["cache-control"] == "no-store, no-transform"
    assert "session=" in reader.headers["set-cookie"]
    assert reader.headers["x-after-request"] == "yes"
    assert "content-length" not in reader.headers
    reader.close()
    refused = stage.proxy.stream("a", status=503)
    assert refused.said()[0] == "1 503", "what the app says is no error of the proxy"
    refused.close()
    have_left(stage, "a")


def test_the_hub_notices_that_browsers_have_disconnected(stage: Stage) -> None:
    readers = [stage.proxy.stream("a").opened() for _ in range(5)]
    assert stage.streams == 5
    for reader in readers[:3]:
        reader.close()
    have_left(stage, "a", 2)
    for reader in readers:
        reader.close()
    have_left(stage, "a")


def test_a_stream_that_the_hub_ends_is_complete_for_the_browser(stage: Stage) -> None:
    reader = stage.proxy.stream("a", lifetime=0.3)
    # Curl accepts that, and reads the next response separately.
    assert reader.said() == ["1 200", f"{0 if stage.way.keeps else 1} 200"]
    body, _, pong = reader.body.partition(b"HTTP/")
    assert re.search(rb"\n\nretry: \d+\n\Z", body)
    assert pong.endswith(b"\r\n\r\npong")
    reader.close()


def test_a_stream_resumes_where_it_stopped(stage: Stage) -> None:
    reader = stage.proxy.stream("a").opened()
    stage.app.publish("a", "1")
    assert reader.read_data(1) == ["1"]
    reader.close()
    stage.app.publish("a", "2", "3")
    again = stage.proxy.stream("a", last_id=reader.last_id)
    assert again.read_data(2) == ["2", "3"] and not again.gaps
    again.close()
    have_left(stage, "a")


def test_while_the_app_is_down_streams_continue_and_new_browsers_retry(
    stage: Stage,
) -> None:
    reader = stage.proxy.stream("a").opened()
    stage.app.publish("a", "1")
    assert reader.read_data(1) == ["1"]
    stage.app.stop()
    later = stage.proxy.stream("a", last_id=reader.last_id)
    stream, ping = later.said()
    assert stream == "1 200" and ping.split()[1] in ("502", "503")
    assert later.headers["content-type"] == "text/event-stream"
    assert later.body.startswith(b"retry: 3000\nHTTP/"), later.body
    stage.app.start()
    again = stage.proxy.stream("a", last_id=reader.last_id).opened()
    stage.app.publish("a", "2")
    assert again.read_data(1) == ["2"] and not again.gaps
    assert reader.read_data(2) == ["1", "2"] and not reader.gaps
    for each in reader, later, again:
        each.close()
    have_left(stage, "a")


def test_a_proxy_that_is_stopped_closes_its_streams(stage: Stage) -> None:
    reader = stage.proxy.stream("a").opened()
    stage.proxy.stop()
    until(lambda: stage.streams == 0)
    reader.close()
    stage.proxy.start()


@pytest.mark.parametrize("way", TLS, ids=str)
def test_an_event_source_survives_a_deploy_and_disconnects_when_it_is_closed(
    way: Way, windows: Windows, tmp_path: Path, certificate: Path
) -> None:
    with set_up(way, tmp_path, certificate, retry=500, PUSH_RETRY=0.5) as stage:
        url = f"https://127.0.0.1:{stage.proxy.port}/ping"
        page = windows.open(url, windows.profile(ignore_https_errors=True))
        answers: list[int] = []
        page.on("response", lambda response: answers.append(response.status))
        page.evaluate(
            """() => {
                window.got = [];
                window.source = new EventSource("/stream?channel=a");
                source.onmessage = (e) => got.push(e.data);
                source.addEventListener("push:open", () => (window.opened = true));
            }"""
        )
        page.wait_for_function("window.opened")
        stage.app.publish("a", "1")
        page.wait_for_function("got.length == 1")
        # Everything stops, the hub too.
        stage.app.stop()
        end_hubs(tmp_path)
        page.wait_for_function("source.readyState == EventSource.CONNECTING")
        # Responses are recorded while Playwright talks to the page.
        until(lambda: page.evaluate("source.readyState") < 2 and len(answers) >= 2)
        assert page.evaluate("source.readyState != EventSource.CLOSED")
        stage.app.start()
        stage.app.publish("a", "2")
        page.wait_for_function("got.length == 2")
        assert page.evaluate("got") == ["1", "2"]
        assert {*answers} == {200}
        assert stage.streams == 1
        # The window stays open, and so does the connection to the proxy.
        page.evaluate("source.close()")
        have_left(stage, "a")
        assert page.evaluate("fetch('/ping').then((r) => r.text())") == "pong"
        page.context.close()


@pytest.mark.parametrize("way", PLAIN, ids=str)
def test_a_proxy_does_not_change_a_compressed_stream(
    way: Way, tmp_path: Path, certificate: Path
) -> None:
    with set_up(way, tmp_path, certificate, PUSH_GZIP=True) as stage:
        packed = stage.proxy.stream("a", more=["--compressed"]).opened()
        plain = stage.proxy.stream("a", more=["-H", "Accept-Encoding: br"]).opened()
        for n in range(10):
            stage.app.publish("a", f"{n}")
            for reader in packed, plain:
                assert reader.read_data(n + 1) == [str(i) for i in range(n + 1)]
        assert packed.headers["content-encoding"] == "gzip"
        assert "content-encoding" not in plain.headers
