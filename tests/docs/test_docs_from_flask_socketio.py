"""The page *From Flask-SocketIO*: its code does what the page says."""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Page
from support.browser import Windows
from support.pages import blocks
from support.pages import DOCS
from support.servers import gunicorn
from support.servers import serve
from support.servers import Server

from flask_push import Push
from flask_push.testing import read_events
from flask_push.testing import read_to_end

PAGE = "from-flask-socketio"
APP, THREAD, TEST = blocks(DOCS[PAGE], "python")
(SCRIPT,) = blocks(DOCS[PAGE], "js")

#: What the page's code takes from an app.
AROUND = """
import os
from flask import Flask
from flask_login import LoginManager, UserMixin, current_user, login_required, login_user

app = Flask("group_chat", instance_path=os.environ.get("INSTANCE"))
app.secret_key = "tests"
app.config.from_prefixed_env()
logins = LoginManager(app)

class User(UserMixin):
    def __init__(self, id):
        self.id = id
        self.name = id.title()

logins.user_loader(User)

def may(user, name):
    return name != "group:8"

@app.get("/")
def index():
    return "<!DOCTYPE html><title>Chat</title>"

@app.get("/login/<user>")
def log_in(user):
    login_user(User(user))
    session["login"] = f"{user}'s"
    return "<!DOCTYPE html><title>Chat</title>"
"""


class Chat(t.NamedTuple):
    names: dict[str, t.Any]
    client: FlaskClient

    @property
    def push(self) -> Push:
        push: Push = self.names["push"]
        return push


@pytest.fixture
def chat() -> cabc.Iterator[Chat]:
    names: dict[str, t.Any] = {"read_events": read_events}
    exec(AROUND + APP, names)
    app: Flask = names["app"]
    app.testing = True
    client = app.test_client()
    client.get("/login/ann")
    yield Chat(names, client)
    names["push"]._services_of(app).close()


def test_the_test_of_the_page_passes(chat: Chat) -> None:
    exec(TEST, chat.names)
    chat.names["test_what_ann_says_reaches_her_group"](chat.client)


def test_only_members_listen_and_speak(chat: Chat) -> None:
    assert chat.client.get("/stream?channel=group:8").status_code == 403
    answer = chat.client.post("/groups/8/say", data={"text": "hi"})
    assert (answer.status_code, answer.json) == (403, {"error": "You are not a member."})
    stranger = chat.names["app"].test_client()
    assert stranger.get("/stream?channel=group:7").status_code == 401
    assert stranger.post("/groups/7/say").status_code == 401


def test_a_disconnect_ends_what_the_page_says(chat: Chat) -> None:
    for selected in {"user": "ann"}, {"channel": "group:7"}, {"session": "ann's"}:
        with chat.client.get("/stream?channel=group:7") as response:
            read_events(response, 1)
            chat.push.disconnect(**selected)
            kinds = {event.type for event in read_to_end(response, own=True)}
            assert "push:disconnect" in kinds


def test_a_command_takes_the_place_of_a_background_thread(chat: Chat) -> None:
    class Enough(Exception):
        pass

    def sleep(seconds: float) -> None:
        if len(measured) == 0:
            raise Enough

    measured = [21.5, 22]
    app = chat.names["app"]
    chat.names["time"] = SimpleNamespace(sleep=sleep)
    chat.names["measure"] = lambda: measured.pop(0)
    exec(THREAD, chat.names)
    result = app.test_cli_runner().invoke(args=["watch-temperature"])
    assert isinstance(result.exception, Enough)
    assert chat.push.items("weather").events["temperature"].data == "22"


# In a browser.


@pytest.fixture
def server(tmp_path: Path) -> cabc.Iterator[Server]:
    (tmp_path / "group_chat.py").write_text(AROUND + APP)
    config: dict[str, t.Any] = {"PUSH_PRESENCE_GRACE": 0.5, "PUSH_RETRY": 0.5}
    config |= {"app": "group_chat", "cwd": tmp_path}
    with serve(gunicorn, tmp_path, "-w", "4", **config) as server:
        yield server


def test_a_group_talks(server: Server, windows: Windows) -> None:
    def open_page(user: str) -> Page:
        page = windows.open(f"{server.url}/login/{user}")
        page.evaluate(
            "() => { window.shown = []; window.show = text => shown.push(text);"
            " window.drawn = ''; window.draw = names => drawn = names.sort().join(); }"
        )
        page.add_script_tag(content=f"{SCRIPT}\nwindow.say = say", type="module")
        return page

    ann, ben = open_page("ann"), open_page("ben")
    for page in ann, ben:
        page.wait_for_function("drawn == 'Ann,Ben'")
    ann.evaluate("say('hi')")
    ben.wait_for_function("shown.length == 1")
    ben.evaluate("say('hello')")
    for page in ann, ben:
        page.wait_for_function("shown.length == 2")
        assert page.evaluate("shown") == ["Ann: hi", "Ben: hello"]
    ben.close()
    ann.wait_for_function("drawn == 'Ann'")
    # A refusal reaches the page.
    other = f"{server.url}/groups/8/say"
    ann.route("**/groups/7/say", lambda route: route.continue_(url=other))
    ann.evaluate("say('no')")
    ann.wait_for_function("shown.at(-1) == 'You are not a member.'")
