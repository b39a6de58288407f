"""What the hub of an app is, on a system that has all of Linux and on one that has not."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import sys
import types
import typing as t
from pathlib import Path

import pytest
from flask import Flask

from flask_push import _app_hub
from flask_push import Push
from flask_push._app_hub import choose
from flask_push._app_hub import files_of
from flask_push._cli import push as commands
from flask_push._config import Config
from flask_push._system import abilities

REASON = "this system has no epoll"


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system has no epoll, and no Unix sockets."""
    monkeypatch.setattr(_app_hub, "why_no_hub_process", lambda: REASON)
    monkeypatch.setattr(
        _app_hub, "why_no_unix_sockets", lambda: "this system has no Unix sockets"
    )


def make(tmp_path: Path, **config: t.Any) -> Flask:
    app = Flask("hubs", instance_path=str(tmp_path))
    app.config.update(config)
    return app


def kind(app: Flask) -> str:
    return choose(app, Config.read(app.config))[1]


def test_on_linux_the_hub_is_a_process(tmp_path: Path) -> None:
    assert abilities.why_no_hub_process() == abilities.why_no_unix_sockets() == ""
    assert kind(make(tmp_path)) == "process"
    assert kind(make(tmp_path, TESTING=True)) == "thread"
    assert kind(make(tmp_path, PUSH_BROKER_URL="memory:")) == "thread"
    assert kind(make(tmp_path, PUSH_HUB="thread")) == "thread"
    assert kind(make(tmp_path, PUSH_HUB="/run/hub.sock")) == "/run/hub.sock"


@pytest.mark.parametrize(
    "module, name, reason",
    [
        (select, "epoll", "epoll"),
        (socket, "SO_PEERCRED", "credentials"),
        (socket, "SCM_RIGHTS", "Unix sockets that pass descriptors"),
    ],
)
def test_what_the_system_lacks_is_named(
    module: t.Any, name: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(module, name)
    assert re.match(f"this system has no {reason}", abilities.why_no_hub_process())


def test_in_a_program_that_gevent_has_patched_the_hub_is_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gevent removes epoll from its module."""
    gevent: t.Any = types.ModuleType("gevent.monkey")
    gevent.is_object_patched = lambda *names: names == ("select", "epoll")
    monkeypatch.setitem(sys.modules, "gevent.monkey", gevent)
    monkeypatch.delattr(select, "epoll")
    assert kind(make(tmp_path)) == "process"


@pytest.mark.usefixtures("lacking")
def test_elsewhere_the_hub_is_a_thread(tmp_path: Path) -> None:
    app = make(tmp_path)
    assert kind(app) == "thread"
    assert files_of(app, Config.read(app.config)) == []
    push = Push(app)
    assert push._states[app].ties == [] and not list(tmp_path.iterdir())


@pytest.mark.usefixtures("lacking")
@pytest.mark.parametrize(
    "config",
    [
        {"PUSH_HUB": "process"},
        {"PUSH_HUB": "/run/hub.sock"},
        {"PUSH_ACCEL": "/_push/"},
        {"PUSH_RETURN_TICKET": 3600},
    ],
    ids=lambda config: " ".join(config),
)
def test_a_key_that_needs_linux_is_an_error_that_names_the_cure(
    config: dict[str, t.Any], tmp_path: Path
) -> None:
    (key,) = config
    with pytest.raises(RuntimeError, match=f"{key} is .*this system.*Remove {key}"):
        Push(make(tmp_path, **config))
    app = make(tmp_path)
    push = Push(app)
    app.config.update(config)
    with pytest.raises(RuntimeError, match=f"Remove {key}"):
        push.publish("a", "x")
    done = app.test_cli_runner().invoke(commands, ["doctor"])
    assert done.exit_code == 1 and f"Remove {key}" in done.output


@pytest.mark.usefixtures("lacking")
def test_a_line_of_the_log_says_what_the_development_mode_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = make(tmp_path)
    push = Push(app)

    @app.get("/stream")
    def stream() -> t.Any:
        return push.stream("a")

    def lines() -> list[str]:
        found = [record.getMessage() for record in caplog.records]
        return [line for line in found if "for development" in line]

    push.publish("a", "x")
    assert lines() == []
    for _ in range(2):
        with app.test_client().get("/stream") as response:
            assert response.status_code == 200
    # The next hub of this process logs it no more.
    t.cast(t.Any, push._states[app].services().hub)._broker()
    (line,) = lines()
    assert f"because {REASON}." in line and "end with the process" in line
    assert int(re.findall(r"at most (\d+) streams", line)[0]) <= 10_000
    push._states[app].services().close()


@pytest.mark.usefixtures("lacking")
@pytest.mark.parametrize(
    "config",
    [{"PUSH_HUB": "thread"}, {"PUSH_BROKER_URL": "memory:"}, {"TESTING": True}],
    ids=lambda config: " ".join(config),
)
def test_a_hub_that_is_a_thread_on_linux_too_logs_nothing(
    config: dict[str, t.Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = make(tmp_path, **config)
    push = Push(app)

    @app.get("/stream")
    def stream() -> t.Any:
        return push.stream("a")

    with app.test_client().get("/stream"):
        pass
    assert "for development" not in caplog.text
    push._states[app].services().close()


@pytest.mark.parametrize("config", [{}, {"PUSH_HUB": "thread"}], ids=str)
@pytest.mark.usefixtures("lacking")
def test_a_thread_shares_its_streams_with_no_other_hub(
    config: dict[str, t.Any], tmp_path: Path
) -> None:
    app = make(tmp_path, PUSH_HUB_PROCESSES=2, PUSH_MAX_STREAMS=4, **config)
    push = Push(app)

    @app.get("/stream")
    def stream() -> t.Any:
        return push.stream("a")

    with contextlib.ExitStack() as stack:
        for _ in range(4):
            response = stack.enter_context(app.test_client().get("/stream"))
            assert any(b"push:open" in data for data in response.iter_encoded())
    push._states[app].services().close()


@pytest.mark.usefixtures("lacking")
def test_the_commands_say_what_the_development_mode_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flask_push import _cli

    monkeypatch.setattr(_cli, "why_no_hub_process", lambda: REASON)
    app = make(tmp_path)
    Push(app)
    run = app.test_cli_runner().invoke
    for command in "status", "stop":
        done = run(commands, [command])
        assert done.exit_code == 1 and f"for development, because {REASON}" in done.output
    done = run(commands, ["hub", "--socket", str(tmp_path / "hub.sock")])
    assert done.exit_code == 1 and f"here, because {REASON}" in done.output
    assert not (tmp_path / "hub.sock").exists()
    done = run(commands, ["publish", "a", "x"])
    assert done.exit_code == 0, done.output
    done = run(commands, ["doctor"])
    assert done.exit_code == 0 and "warn   development: The hub is" in done.output
