"""The page *From Flask-SSE*: its code, and the example of Flask-SSE's own pages, run."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import re
import typing as t
from importlib.metadata import distribution
from pathlib import Path
from types import SimpleNamespace

import flask_sse
import pytest
from flask import abort
from flask import Flask
from flask import g
from flask import request
from playwright.sync_api import Dialog
from playwright.sync_api import Page
from support.browser import Windows
from support.pages import blocks
from support.pages import DOCS
from support.redises import Redis
from support.servers import flask_run
from support.servers import gunicorn
from support.servers import serve
from support.servers import Server
from support.servers import until

from flask_push import Push
from flask_push.compat.flask_sse import ServerSentEventsBlueprint
from flask_push.testing import read_events

FIRST, GUARD, SERVICES, WITHOUT = blocks(DOCS["from-flask-sse"], "python")
(SCRIPT,) = blocks(DOCS["from-flask-sse"], "js")

#: The example of the page *Quickstart* of Flask-SSE.
QUICKSTART = """\
from flask import Flask, render_template
from flask_sse import sse

app = Flask(__name__)
app.config["REDIS_URL"] = "redis://localhost"
app.register_blueprint(sse, url_prefix='/stream')

@app.route('/')
def index():
    return render_template("index.html")

@app.route('/hello')
def publish_hello():
    sse.publish({"message": "Hello!"}, type='greeting')
    return "Message sent!"
"""
INDEX = """\
<!DOCTYPE html>
<html>
<head>
  <title>Flask-SSE Quickstart</title>
</head>
<body>
  <h1>Flask-SSE Quickstart</h1>
  <script>
    var source = new EventSource("{{ url_for('sse.stream') }}");
    source.addEventListener('greeting', function(event) {
        var data = JSON.parse(event.data);
        alert("The server says " + data.message);
    }, false);
    source.addEventListener('error', function(event) {
        alert("Failed to connect to event stream. Is Redis running?");
    }, false);
  </script>
</body>
</html>
"""
#: The example of its README has the same calls.
README = re.sub(r"(?m)^    ", "", distribution("flask-sse").read_text("METADATA") or "")

OLD, NEW = "from flask_sse import", "from flask_push.compat.flask_sse import"


@pytest.fixture
def redis(tmp_path: Path) -> cabc.Iterator[Redis]:
    (directory := tmp_path / "redis").mkdir()
    with Redis.started(directory) as redis:
        yield redis


def test_the_example_is_that_of_flask_sse() -> None:
    lines = QUICKSTART.split("\n\n")
    assert f"{OLD} sse\n\n{lines[1]}\n" in README
    assert lines[3].split("\n", 2)[2] in README


def run(
    directory: Path, code: str, index: str, url: str, *more: str
) -> contextlib.AbstractContextManager[Server]:
    """The code in a directory of its own, with its page."""
    (directory / "templates").mkdir()
    (directory / "templates" / "index.html").write_text(index)
    code = code.replace("redis://localhost", url)
    # As the app would be without Redis.
    code = code if url else re.sub(r"(?m)^app.config.*\n", "", code)
    (directory / "quickstart.py").write_text(code.replace(OLD, NEW))
    command = flask_run if more == ("flask",) else gunicorn
    more = () if more == ("flask",) else more
    return serve(command, directory, *more, app="quickstart", cwd=directory)


def greets(server: Server, windows: Windows) -> None:
    """Expect the greeting in two windows."""
    alerts: list[str] = []

    def shown(dialog: Dialog) -> None:
        alerts.append(dialog.message)
        dialog.accept()

    pages = [windows.profile().new_page() for _ in range(2)]
    for page in pages:
        page.on("dialog", shown)
        # A page may begin to listen after that.
        page.goto(server.url)
        page.wait_for_function("source.readyState == 1")
    pages[0].request.get(f"{server.url}/hello")
    until(lambda: both_have_shown(pages[0], alerts))
    assert alerts == ["The server says Hello!"] * 2


def both_have_shown(page: Page, alerts: list[str]) -> bool:
    # Meanwhile, the driver calls what listens to the pages.
    page.wait_for_timeout(20)
    return len(alerts) >= 2


@pytest.mark.parametrize("kind", ["sync", "gevent", "flask"])
def test_the_example_of_flask_sse_runs_with_another_import(
    kind: str, tmp_path: Path, windows: Windows
) -> None:
    more = {"sync": ("-w", "2"), "gevent": ("-k", "gevent"), "flask": ("flask",)}[kind]
    with run(tmp_path, QUICKSTART, INDEX, "", *more) as server:
        greets(server, windows)


def test_it_runs_with_the_redis_that_it_names(
    tmp_path: Path, windows: Windows, redis: Redis
) -> None:
    with run(tmp_path, QUICKSTART, INDEX, redis.url, "-w", "2") as server:
        greets(server, windows)
    assert redis.do("HGET", "{push}:store", "epoch")


def test_the_code_of_the_page_greets(tmp_path: Path, windows: Windows) -> None:
    route = '@app.route("/")\ndef index():\n    return render_template("index.html")\n'
    code = FIRST.replace("import Flask\n", "import Flask, render_template\n") + route
    script = SCRIPT.replace("const source", "var source")
    with run(tmp_path, code, f"<script>{script}</script>", "", "-w", "2") as server:
        greets(server, windows)


def test_a_guard_is_asked() -> None:
    app = Flask("app", instance_path="/nonexistent")
    app.testing = True
    sse = ServerSentEventsBlueprint("sse", __name__)
    sse.add_url_rule("", "stream", sse.stream)
    names: dict[str, t.Any] = {"sse": sse, "request": request, "g": g, "abort": abort}
    exec(GUARD, names)
    app.register_blueprint(sse, url_prefix="/stream")

    @app.before_request
    def log_in() -> None:
        g.user = SimpleNamespace(is_admin=lambda: "admin" in request.args)

    client = app.test_client()
    assert client.get("/stream?channel=analytics").status_code == 403
    for path in "/stream?channel=analytics&admin=1", "/stream?channel=other":
        with client.get(path) as response:
            assert response.status_code == 200
    app.extensions["push"]._services_of(app).close()


@pytest.fixture
def old(redis: Redis) -> Flask:
    """Another service, which has not moved yet."""
    app = Flask("old")
    app.config["REDIS_URL"] = redis.url
    return app


def test_what_another_service_publishes_with_flask_sse_comes_with_its_type(
    tmp_path: Path, redis: Redis, old: Flask
) -> None:
    code = Path(__file__).parents[1].joinpath("apps/moved.py").read_text()
    for line in SERVICES.splitlines():
        assert line in code
    (directory := tmp_path / "app").mkdir()
    with serve(
        gunicorn, directory, "-w", "2", app="apps.moved", REDIS_URL=redis.url
    ) as server:
        first = server.stream("sse").opened()
        social = server.stream("users.social").opened()

        def is_bridged() -> bool:
            return len(redis.do("KEYS", "{push}:bridge:flask-sse:*")) == 2

        until(is_bridged, what="both leases are taken")
        with old.app_context():
            assert flask_sse.sse.publish({"message": "ü"}, "greeting", id=7, retry=9) == 1
            flask_sse.sse.publish("a\nb", type="text")
            flask_sse.sse.publish([1], channel="users.social")
        # The bridge stores what Redis has sent, and nothing waits for it.
        first.read_data(2)
        server.request("POST", "/publish")
        first.read_data(3)
        found = [(e.type, e.data) for e in first.events if not e.type.startswith("push:")]
        assert found == [
            ("greeting", '{"message": "\\u00fc"}'),
            ("text", "a\nb"),
            ("greeting", "ours"),
        ]
        assert social.read_data(1) == ["[1]"]
        # What was published is stored, so a page that comes back misses nothing.
        with server.stream("sse", last_id=first.events[1].id) as late:
            assert late.read_data(2) == ["a\nb", "ours"]


def test_the_view_that_replaces_the_blueprint_decides() -> None:
    app = Flask("app", instance_path="/nonexistent")
    app.testing = True
    names: dict[str, t.Any] = {"app": app, "Push": Push, "current_user": None}
    names["may"] = lambda user, name: name != "user:8"
    exec(WITHOUT, names)
    client = app.test_client()
    with client.get("/stream?channel=news&channel=user:7&channel=user:8") as response:
        assert client.post("/hello").status_code == 204
        (event,) = read_events(response, 1)
        assert (event.type, event.json) == ("greeting", {"message": "Hello!"})
        names["push"].publish("user:8", "private")
        names["push"].publish("user:7", "hi")
        assert [event.data for event in read_events(response, 1)] == ["hi"]
    assert client.get("/stream?channel=user:8").status_code == 403
    names["push"]._services_of(app).close()
