"""A probe of a real server: no hub yet, a hub, one that stands still, and a store that is
away or stands still."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from support.redises import Redis
from support.servers import gunicorn
from support.servers import hubs
from support.servers import kill_hubs
from support.servers import serve
from support.servers import Server
from support.servers import until

APP = "apps.monitored"


def asked(server: Server, path: str = "/health") -> tuple[int, dict[str, t.Any]]:
    status, headers, body = server.request("GET", path)
    assert headers["Content-Type"] == "application/json", body
    return status, json.loads(body)


OK = {"hub": "ok", "store": "ok"}
WAITING = {"hub": "waiting", "store": "ok"}


@pytest.mark.parametrize("processes", [1, 3])
def test_a_probe_tells_no_hub_from_one_that_stands_still(
    tmp_path: Path, processes: int
) -> None:
    config: t.Any = {"PUSH_HUB_PROCESSES": processes}
    with serve(gunicorn, tmp_path, "-w", "2", app=APP, **config) as server:
        assert asked(server) == (200, {"hub": "none", "store": "ok"})
        assert not hubs(tmp_path), "a probe starts none"
        server.open_stream("a")
        (pid,) = hubs(tmp_path)
        # Whichever worker answers, and whether it has a stream or not.
        assert [asked(server) for _ in range(8)] == [(200, OK)] * 8
        os.kill(pid, signal.SIGSTOP)
        try:
            assert asked(server) == (503, {"hub": "broken", "store": "ok"})
            assert asked(server, "/alive") == (503, {"hub": "broken"})
        finally:
            os.kill(pid, signal.SIGCONT)
        until(lambda: asked(server) == (200, OK))
        assert "The hub does not answer a probe: timed out" in server.log
        kill_hubs(tmp_path)
        status, found = until(lambda: asked(server) if not hubs(tmp_path) else None)
        assert status == 200 and found["hub"] in ("none", "ok")


def test_a_hub_that_is_run_by_hand_has_to_be_there(tmp_path: Path) -> None:
    config: t.Any = {"PUSH_HUB": str(tmp_path / "hub.sock")}
    with serve(gunicorn, tmp_path, app=APP, **config) as server:
        assert asked(server) == (503, {"hub": "broken", "store": "ok"})
        assert f"No hub is running at {tmp_path}/hub.sock" in server.log


def test_a_probe_tells_a_store_that_is_away_or_stands_still(tmp_path: Path) -> None:
    with Redis.started(tmp_path) as redis:
        config: t.Any = {"PUSH_BROKER_URL": redis.url, "PUSH_PUBLISH_TIMEOUT": 0.2}
        config["PUSH_METRICS"] = True
        with serve(gunicorn, tmp_path, app=APP, **config) as server:
            server.open_stream("a")
            assert asked(server) == (200, OK)
            assert server.request("GET", "/metrics")[0] == 200
            for trouble, mended in (redis.stop, redis.go_on), (redis.kill, redis.start):
                trouble()
                # The hub goes on without its store, and notices that it stands still.
                until(lambda: asked(server) == (503, WAITING | {"store": "broken"}))
                assert asked(server, "/alive") == (200, {"hub": "ok"})
                assert server.request("GET", "/metrics")[0] == 503
                mended()
                until(lambda: asked(server) == (200, OK))


@pytest.mark.parametrize("hub", [None, "thread"])
def test_a_probe_tells_a_hub_that_alone_can_not_read_the_store(
    tmp_path: Path, hub: str | None
) -> None:
    """The user may still run scripts, and may subscribe to nothing, as only hubs do."""
    with Redis.started(tmp_path) as redis:
        config: t.Any = {"PUSH_BROKER_URL": redis.url, "PUSH_HUB": hub}
        with serve(gunicorn, tmp_path, app=APP, **config) as server:
            server.open_stream("a")
            assert asked(server) == (200, OK)
            redis.do("ACL", "SETUSER", "default", "resetchannels")
            until(lambda: asked(server) == (503, WAITING))
            assert asked(server, "/alive") == (200, {"hub": "ok"})
            assert "The hub answers a probe, and waits for its store: " in server.log
            if hub is None:
                check_command(tmp_path)
            redis.do("ACL", "SETUSER", "default", "allchannels")
            until(lambda: asked(server) == (200, OK))


def check_command(directory: Path) -> None:
    (sock,) = directory.rglob("hub.sock")
    command = [sys.executable, "-m", "flask", "push", "status", "--socket", str(sock)]
    alive = subprocess.run(command, capture_output=True, text=True)
    assert alive.returncode == 0 and re.search("^store +[^o]", alive.stdout, re.M), alive
    ready = subprocess.run([*command, "--store"], capture_output=True, text=True)
    assert ready.returncode == 1 and ready.stdout.startswith("pid"), ready
    assert f"The hub at {sock} waits for its store: " in ready.stderr
