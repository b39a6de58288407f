"""A Redis fails over and loses a disconnect that the app had acknowledged: nothing later is
written to a stream that it named."""

from __future__ import annotations

import collections.abc as cabc
import json
import os
import signal
from pathlib import Path

import pytest
from support.reader import HttpReader
from support.redis_failovers import of_a_sentinel
from support.redis_failovers import Replicated
from support.servers import gunicorn
from support.servers import serve
from support.servers import Server
from support.servers import status
from support.servers import the_hub
from support.servers import until

from flask_push import Position


@pytest.fixture
def redis(tmp_path: Path) -> cabc.Iterator[Replicated]:
    with of_a_sentinel(tmp_path) as redis:
        yield redis


@pytest.fixture
def server(redis: Replicated, tmp_path: Path) -> cabc.Iterator[Server]:
    (path := tmp_path / "app").mkdir()
    # Two workers are held by views. Gunicorn must not replace them.
    words = "-w", "4", "--timeout", "300"
    with serve(
        *(gunicorn, path, *words),
        app="apps.logins",
        PUSH_BROKER_URL=redis.url,
        PUSH_RETRY=0.5,
    ) as server:
        yield server


def published(server: Server, data: str) -> Position:
    """Publish, as soon as the store accepts it."""
    event = json.dumps([{"channel": "a", "data": data}]).encode()

    def ids() -> str:
        code, _, body = server.request("POST", "/publish", event)
        return body.decode() if code == 200 else ""

    return Position.parse(until(ids, 60))


def types(reader: HttpReader) -> list[str]:
    return [event.type for event in reader.events]


@pytest.mark.parametrize("hub", ["has read it", "was stopped"])
def test_a_failover_that_loses_a_disconnect_writes_nothing_to_those_it_named(
    hub: str, server: Server, redis: Replicated, tmp_path: Path
) -> None:
    ann, bob = (server.open_stream("a", user=name) for name in ("ann", "bob"))
    # Their views have decided, and their streams reach the hub after the failover.
    held = {name: tmp_path / name for name in ("ann", "bob")}
    late = {
        name: server.stream("a", user=name, held=str(file)) for name, file in held.items()
    }
    until(lambda: all(file.exists() for file in held.values()))
    before = published(server, "before")
    for reader in ann, bob:
        assert reader.read_data(1) == ["before"]
    until(lambda: redis.replica.has_all_of(redis.master))
    redis.replica.stop()
    redis.master.do("CLIENT", "KILL", "TYPE", "replica")

    pid = the_hub(tmp_path / "app")
    if hub == "was stopped":
        os.kill(pid, signal.SIGSTOP)
        # Nothing that comes now waits for it in a connection.
        redis.master.do("CLIENT", "KILL", "TYPE", "pubsub")
    words = json.dumps({"user": "ann", "reason": "removed"}).encode()
    code, _, body = server.request("POST", "/disconnect", words)
    assert code == 200 and Position.parse(body.decode()) > before
    if hub == "has read it":
        ann.read_to_end()
    redis.master.kill()
    redis.replica.go_on()
    try:
        after = published(server, "after")
        assert after.epoch != before.epoch
    finally:
        os.kill(pid, signal.SIGCONT)

    # The store has lost it: so all streams are sent back, and then the late ones.
    for reader in ann, bob:
        reader.read_to_end(60)
        assert reader.data == ["before"]
    for file in held.values():
        file.unlink()
    for reader in late.values():
        reader.read_to_end()
    expected = ["push:open", "message"]
    assert types(bob) == expected
    assert types(ann) == expected + ["push:disconnect"] * (hub == "has read it")
    assert types(late["ann"]) == types(late["bob"]) == []
    assert status(tmp_path / "app")["sent_back"] >= 3

    # Each view grants its stream again, which resumes with a gap for the new epoch.
    for reader, user in (ann, "ann"), (bob, "bob"):
        again = server.open_stream("a", user=user, last_id=reader.last_id)
        published(server, f"for {user}")
        again.read_until(lambda r, user=user: f"for {user}" in r.data)  # type: ignore[misc]
        assert [gap["channels"] for gap in again.gaps] == [["a"]]
        assert again.gaps[0]["reason"] == "restarted"
