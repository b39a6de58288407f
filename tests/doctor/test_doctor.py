"""The doctor as a command, and its page: every problem is on it and has a test."""

from __future__ import annotations

import json
import re
from pathlib import Path

from flask import Flask
from support.doctors import Ask
from support.doctors import ask as ask
from support.hub_processes import flask_push
from support.servers import gunicorn
from support.servers import serve

from flask_push import Push
from flask_push._cli import push as commands
from flask_push._ipc.version import version

# All is well.


def test_a_healthy_app_has_no_problems(tmp_path: Path, ask: Ask) -> None:
    with serve(gunicorn, tmp_path, "-w", "2", PUSH_HEARTBEAT=0.5) as server:
        server.publish("a", "1", "2")
        said = ask(f"{server.url}/stream?channel=a", PUSH_HEARTBEAT=0.5)
        assert said.code == 0 and not said.wrong, said
        assert list(said) == [
            *("versions", "directory", "store", "hub", "limits"),
            *("server", "head", "stream", "events", "resume", "heartbeat"),
        ]
        assert "gunicorn" in said["server"].what
        assert "HTTP/1.1 200" in said["head"].what
        assert "the 2 events" in said["resume"].what
        assert re.search(r"[0-9a-zA-Z]{5}\.$", said["store"].what), "its epoch"
        said = ask()
        assert re.match(r"Process \d+, version .*, \d streams", said["hub"].what)
        assert not re.search("error|traceback", server.log, re.I), server.log


def test_the_doctor_disturbs_no_reader_and_stores_nothing(tmp_path: Path, ask: Ask) -> None:
    with serve(gunicorn, tmp_path) as server:
        reader = server.stream("a").opened()
        said = ask("--quick", f"{server.url}/stream?channel=a")
        assert said["events"].level == "ok"
        server.publish("a", "x")
        assert reader.read_data(1) == ["x"]
        types = {event.type for event in reader.events}
        assert types == {"push:open", "push:doctor", "message"}
        assert json.loads(server.get("/history?channel=a"))["events"][0]["data"] == "x"
        late = server.stream("a", last=100)
        assert late.read_data(1) == ["x"]
        assert not [event for event in late.events if event.type == "push:doctor"]


def test_without_a_url_the_doctor_creates_nothing(tmp_path: Path, ask: Ask) -> None:
    said = ask()
    assert said.code == 0 and not said.wrong
    assert not any(tmp_path.iterdir())


def test_the_doctor_prints_text(tmp_path: Path) -> None:
    text = flask_push(tmp_path, "doctor")
    assert re.search(rf"^ok     versions: Flask-Push {re.escape(version())}, ", text, re.M)


def test_invalid_arguments_of_the_doctor_are_errors_that_show_no_secret(
    tmp_path: Path,
) -> None:
    app = Flask("basic", instance_path=str(tmp_path))
    Push(app)
    for words in (
        *(["/stream"], ["--header", "Cookie", "http://x/"], ["http://x:99999/"]),
        *(["http://me:s3cret@x/"], ["http://[s3cret/"], ["http://a..s3cret/"]),
        *(["--header", "Authorization s3cret", "http://x/"], ["s3cret"]),
    ):
        done = app.test_cli_runner().invoke(commands, ["doctor", *words])
        assert done.exit_code == 2, done.output
        assert "s3cret" not in done.output
