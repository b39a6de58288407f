"""A stream is idle for longer than the timeout of its proxy. All streams wait at once."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import typing as t
from pathlib import Path

import pytest
from support.reader import HttpReader
from support.web_proxies import certificate as certificate
from support.web_proxies import PLAIN
from support.web_proxies import set_up
from support.web_proxies import Stage
from support.web_proxies import Way

Open = dict[Way, tuple[Stage, HttpReader]]
#: In seconds. Enough time for a hub to start, even on a busy machine.
TIMEOUT = 4


@contextlib.contextmanager
def idle(
    ways: list[Way], paths: pytest.TempPathFactory, certificate: Path, **config: t.Any
) -> cabc.Iterator[Open]:
    """Open a stream behind each proxy."""
    with contextlib.ExitStack() as stack:
        found: Open = {}
        for way in ways:
            place = set_up(way, paths.mktemp("app"), certificate, TIMEOUT, **config)
            stage = stack.enter_context(place)
            found[way] = stage, stage.proxy.stream("a").opened()
        yield found


@pytest.fixture(scope="module")
def with_heartbeats(
    tmp_path_factory: pytest.TempPathFactory, certificate: Path
) -> cabc.Iterator[Open]:
    with idle(PLAIN, tmp_path_factory, certificate, PUSH_HEARTBEAT=0.4) as found:
        yield found


CUTTING = [way for way in PLAIN if way.section != "Caddy"]


@pytest.fixture(scope="module")
def without_heartbeats(
    tmp_path_factory: pytest.TempPathFactory, certificate: Path
) -> cabc.Iterator[Open]:
    with idle(CUTTING, tmp_path_factory, certificate) as found:
        yield found


@pytest.mark.parametrize("way", PLAIN, ids=str)
def test_heartbeats_keep_a_stream_open_beyond_the_timeouts_of_a_proxy(
    way: Way, with_heartbeats: Open
) -> None:
    stage, reader = with_heartbeats[way]
    reader.read_until(lambda r: b"\n\n" + b":\n" * 15 in r.body)
    stage.app.publish("a", "1")
    assert reader.read_data(1) == ["1"]


@pytest.mark.parametrize("way", CUTTING, ids=str)
def test_a_timeout_before_the_heartbeat_cuts_a_stream(
    way: Way, without_heartbeats: Open
) -> None:
    stage, reader = without_heartbeats[way]
    # With HTTP/1.1 and HAProxy, a cut looks like an end.
    reader.read_to_end()
    stage.app.publish("a", "1")
    again = stage.proxy.stream("a", last_id=reader.last_id)
    assert again.read_data(1) == ["1"]
    again.close()
