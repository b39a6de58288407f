"""The page *With Flask-Login*: what its code does, with the real Flask-Login, is what the
page says."""

from __future__ import annotations

import collections.abc as cabc
import time
import typing as t
from pathlib import Path
from secrets import token_urlsafe

import flask
import flask_login
import pytest
import sqlalchemy as sa
from flask import Flask
from flask import Response
from flask.testing import FlaskClient
from flask_sqlalchemy import SQLAlchemy
from playwright.sync_api import Page
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column
from support.browser import Windows
from support.pages import blocks
from support.pages import DOCS
from support.servers import flask_run
from support.servers import serve
from support.servers import Server
from support.servers import status
from support.servers import until

from flask_push import Push
from flask_push.testing import read_events
from flask_push.testing import read_to_end

SIMPLE, ROWS, TOKENS = blocks(DOCS["flask-login"], "python")
IN_PAGE, WITH_TOKEN = blocks(DOCS["flask-login"], "js")

#: What a browser's EventSource sends.
STREAM = {"Accept": "text/event-stream"}

pytestmark = pytest.mark.filterwarnings(
    "ignore:datetime.datetime.utcnow:DeprecationWarning"
)

#: The app around the first code of the page.
AROUND = """
import os
from secrets import token_urlsafe

from flask import *
from flask_login import *
from flask_push import Push

app = Flask("page", instance_path=os.environ.get("INSTANCE", "/nonexistent"))
app.secret_key = "k"
push = Push(app)
login_manager = LoginManager(app)


class User(UserMixin):
    def __init__(self, id):
        self.id = int(id)


login_manager.user_loader(User)
# PAGE

@app.get("/login")
def log_in():
    return "Log in."


@app.post("/login")
def log_in_now():
    login_user(User(request.form["user"]), remember="remember" in request.form)
    return "", 204


@app.post("/logout")
@login_required
def log_out():
    logout_user()
    return "", 204


@app.post("/say")
def say():
    push.publish("user:7", request.form["text"])
    return "", 204


@app.get("/")
@login_required
def page():
    return "A page."
"""


class Written(t.NamedTuple):
    """What the page's code has defined, and what it needs."""

    app: Flask
    push: Push
    names: dict[str, t.Any]

    def browser(self, user: int = 0, **form: str) -> FlaskClient:
        client = self.app.test_client()
        if user:
            client.post("/login", data={"user": user, **form})
        return client

    def reaches(self, response: t.Any, channel: str = "user:7") -> bool:
        """Whether a stream that was not ended gets what is published now."""
        data = token_urlsafe()
        self.push.publish(channel, data)
        return [event.data for event in read_events(response, 1)] == [data]


@pytest.fixture
def page() -> cabc.Iterator[Written]:
    names: dict[str, t.Any] = {}
    exec(AROUND.replace("# PAGE", SIMPLE), names)
    app, push = names["app"], names["push"]
    app.testing = True
    yield Written(app, push, names)
    push._services().close()


def stream(client: FlaskClient) -> t.Any:
    response = client.get("/stream", headers=STREAM)
    assert response.status_code == 200, response
    return response


def reason(response: t.Any) -> str:
    """Why a stream was ended."""
    last = read_to_end(response, own=True)[-1]
    assert last.type == "push:disconnect"
    return str(last.json["reason"])


def word_of(client: FlaskClient) -> str:
    with client.session_transaction() as session:
        return str(session["login"])


def test_a_logout_ends_the_streams_of_all_tabs_and_of_no_other_browser(
    page: Written,
) -> None:
    mine, other = page.browser(7), page.browser(7)
    assert word_of(mine) != word_of(other)
    with stream(mine) as one, stream(mine) as two, stream(other) as staying:
        assert mine.post("/logout").status_code == 204
        assert reason(one) == reason(two) == "You have logged out."
        assert mine.get("/stream", headers=STREAM).status_code == 401
        assert page.reaches(staying)


def test_a_stream_without_a_login_is_refused_and_a_page_is_redirected(
    page: Written,
) -> None:
    client = page.browser()
    assert client.get("/stream", headers=STREAM).status_code == 401
    with client.session_transaction() as session:
        assert not session
    answer = client.get("/?a=1", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (answer.status_code, answer.location) == (302, "/login?next=/?a%3D1")


def test_without_the_handler_a_stream_is_redirected_and_leaves_traces(
    page: Written,
) -> None:
    """The three faults that the page names."""
    manager = page.names["login_manager"]
    manager.unauthorized_callback, manager.login_view = None, "log_in"
    page.app.config["USE_SESSION_FOR_NEXT"] = True
    client = page.browser()
    for _ in range(3):
        assert client.get("/stream", headers=STREAM).status_code == 302
    with client.session_transaction() as session:
        assert len(session["_flashes"]) == 3
        assert session["next"] == "/stream"


def test_another_login_ends_the_streams_of_the_one_before(page: Written) -> None:
    client = page.browser(7)
    with stream(client) as response:
        client.post("/login", data={"user": 8})
        assert reason(response) == "You have logged out."
    with stream(client) as response:
        assert page.reaches(response, "user:8")


def close_browser(client: FlaskClient) -> None:
    """Cookies of the session go, and the one that remembers stays."""
    client.delete_cookie("session")
    assert client.get_cookie("remember_token")


def test_a_login_that_was_remembered_gets_a_word(page: Written) -> None:
    client = page.browser(7, remember="on")
    before = word_of(client)
    close_browser(client)
    assert client.get("/").status_code == 200
    assert word_of(client) != before
    with stream(client) as response:
        client.post("/logout")
        assert reason(response) == "You have logged out."
    assert client.get_cookie("remember_token") is None


def test_tabs_that_were_opened_at_once_have_several_words(page: Written) -> None:
    """Which the page says, and why it recommends rows."""
    client = page.browser(7, remember="on")
    close_browser(client)
    remembered = client.get_cookie("remember_token")
    assert remembered is not None
    tab = page.browser()
    tab.set_cookie("remember_token", remembered.value)
    with stream(client), stream(tab):
        assert word_of(client) != word_of(tab)


def test_an_old_login_has_no_word_and_can_log_out(page: Written) -> None:
    client = page.browser(7)
    with client.session_transaction() as session:
        del session["login"]
    with stream(client) as response:
        assert client.post("/logout").status_code == 204
        assert page.reaches(response)


def test_a_request_of_a_stream_renews_a_permanent_session(page: Written) -> None:
    @page.app.before_request
    def permanent() -> None:
        flask.session.permanent = True

    client = page.browser(7)
    for path in "/", "/stream":
        with client.get(path, headers=STREAM) as response:
            assert response.headers["Set-Cookie"].startswith("session=")


def test_a_strong_protection_refuses_a_stream_from_another_address(page: Written) -> None:
    page.app.config["SESSION_PROTECTION"] = "strong"
    client = page.browser(7)
    stream(client).close()
    moved = {"REMOTE_ADDR": "192.0.2.7"}
    answer = client.get("/stream", headers=STREAM, environ_base=moved)
    assert answer.status_code == 401


def test_a_stream_may_require_a_fresh_login(page: Written) -> None:
    page.names["login_manager"].needs_refresh_handler(page.names["unauthorized"])
    view = page.app.view_functions["stream"]
    page.app.view_functions["stream"] = flask_login.fresh_login_required(view)
    client = page.browser(7)
    with stream(client) as response:
        with client.session_transaction() as session:
            session["_fresh"] = False
        assert page.reaches(response)
    assert client.get("/stream", headers=STREAM).status_code == 401


# A row for each login, and tokens.


@pytest.fixture
def rows() -> cabc.Iterator[Written]:
    app = Flask("page", instance_path="/nonexistent")
    app.testing = True
    app.secret_key = "k"
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"

    class Base(DeclarativeBase):
        pass

    db, push = SQLAlchemy(app, model_class=Base), Push(app)
    manager = flask_login.LoginManager(app)
    manager.unauthorized_handler(lambda: Response(status=401))
    names: dict[str, t.Any] = {**vars(flask_login), "app": app, "push": push, "db": db}
    names |= {"login_manager": manager, "redirect": flask.redirect, "time": time.time}
    names |= {"request": flask.request, "token_urlsafe": token_urlsafe, "Mapped": Mapped}
    names |= {"mapped_column": mapped_column, "ForeignKey": sa.ForeignKey}
    names |= {"delete": sa.delete, "read_token": TOKENS_OF_TESTS.get}
    names["check_password"] = lambda form: db.session.get_one(names["User"], form["user"])
    # Without the annotations of this module.
    exec(compile(ROWS, "page", "exec", dont_inherit=True), names)
    names["index"] = app.get("/")(flask_login.login_required(lambda: "A page."))
    with app.app_context():
        db.create_all()
        db.session.add_all([names["User"](id=7, name="Ann"), names["User"](id=8, name="B")])
        db.session.commit()
    yield Written(app, push, names)
    push._services().close()
    with app.app_context():
        for engine in db.engines.values():
            engine.dispose()


TOKENS_OF_TESTS: dict[str, dict[str, float]] = {}


def test_a_logout_deletes_the_row_and_refuses_a_copied_cookie(rows: Written) -> None:
    mine, other = rows.browser(7), rows.browser(7)
    copy = rows.browser()
    cookie = mine.get_cookie("session")
    assert cookie is not None
    copy.set_cookie("session", cookie.value)
    stream(copy).close()
    with stream(mine) as one, stream(other) as staying:
        assert mine.post("/logout").status_code == 302
        assert reason(one) == "You have logged out."
        assert rows.reaches(staying)
    for client in mine, copy:
        assert client.get("/stream").status_code == 401


def test_a_logout_everywhere_ends_all_streams_of_the_user(rows: Written) -> None:
    mine, phone, stranger = rows.browser(7), rows.browser(7), rows.browser(8)
    with stream(mine) as one, stream(phone) as two, stream(stranger) as staying:
        assert mine.post("/logout/everywhere").status_code == 302
        assert reason(one) == reason(two) == "You have logged out everywhere."
        assert rows.reaches(staying, "user:8")
    assert phone.get("/stream").status_code == 401
    # The user may log in again at once.
    with stream(rows.browser(7)) as response:
        assert rows.reaches(response)


def test_tabs_of_a_login_that_was_remembered_have_one_word(rows: Written) -> None:
    client = rows.browser(7, remember="on")
    close_browser(client)
    remembered = client.get_cookie("remember_token")
    assert remembered is not None
    tab = rows.browser()
    tab.set_cookie("remember_token", remembered.value)
    with stream(client) as one, stream(tab) as two:
        client.post("/logout")
        assert reason(one) == reason(two) == "You have logged out."
    assert tab.get("/").status_code == 401


def test_a_token_opens_a_stream_that_ends_with_it(rows: Written) -> None:
    exec(TOKENS, rows.names)
    TOKENS_OF_TESTS["good"] = {"sub": 7, "exp": time.time() + 1}
    client = rows.browser()
    headers = {"Authorization": "Bearer good"}
    with client.get("/api/stream", headers=headers) as response:
        assert rows.reaches(response, "news")
        assert read_to_end(response) == []
    del TOKENS_OF_TESTS["good"]
    for given in headers, {"Authorization": "good"}, {}:
        assert client.get("/api/stream", headers=given).status_code == 401


# In a browser.

#: What the code with tokens needs.
BEARER = """
from time import time
from types import SimpleNamespace

db = SimpleNamespace(session=SimpleNamespace(get_one=lambda kind, id: kind(id)))
read_token = {name: {"sub": 7, "exp": time() + 900} for name in ("one", "two")}.get
"""


@pytest.fixture
def server(tmp_path: Path) -> cabc.Iterator[Server]:
    code = f"{AROUND.replace('# PAGE', SIMPLE)}\n{BEARER}\n{TOKENS}"
    (tmp_path / "page.py").write_text(code)
    with serve(flask_run, tmp_path, app=str(tmp_path / "page.py")) as server:
        yield server


def test_all_tabs_show_the_form_of_the_login_after_a_logout(
    server: Server, windows: Windows, tmp_path: Path
) -> None:
    profile = windows.profile()

    def tab() -> Page:
        page = windows.open(f"{server.url}/login", profile)
        page.evaluate(
            "fetch('/login', {method: 'POST', body: new URLSearchParams('user=7')})"
        )
        return page

    first = tab()
    pages = [first, windows.open(f"{server.url}/", profile)]
    for page in pages:
        page.goto(f"{server.url}/")
        page.add_script_tag(
            content=f"{IN_PAGE}\nwindow.push = push;\npush.subscribe('user:7');",
            type="module",
        )
    for page in pages:
        page.wait_for_function("window.push?.state == 'open'")
    until(lambda: status(tmp_path, "push-page").get("streams") == 1)
    first.evaluate("void fetch('/logout', {method: 'POST'})")
    for page in pages:
        page.wait_for_url(f"{server.url}/login")


def test_a_page_with_a_token_goes_on_with_the_next_one(
    server: Server, windows: Windows
) -> None:
    page = windows.open(f"{server.url}/login")

    def say(text: str) -> None:
        form = f"{{method: 'POST', body: new URLSearchParams('text={text}')}}"
        assert page.evaluate(f"fetch('/say', {form}).then(({{status}}) => status)") == 204

    def listens(token: str, since: str) -> None:
        code = WITH_TOKEN.replace("transport:", f"since: {since}, transport:")
        page.evaluate("() => { window.push = undefined; window.got ??= []; }")
        page.add_script_tag(
            content=f"""import {{ connect }} from "/push/push.js";
            const token = "{token}";\n{code}\nwindow.push = push;
            push.on("state", () => {{}});
            push.subscribe("user:7", (text, event) => got.push([text, event.id]), {{
              parse: "text" }});""",
            type="module",
        )

    listens("one", "undefined")
    page.wait_for_function("window.push?.state == 'open'")
    say("a")
    page.wait_for_function("got.length == 1")
    page.evaluate("push.close()")
    say("b")
    listens("two", "got[0][1]")
    page.wait_for_function("got.length == 2")
    assert [text for text, _ in page.evaluate("got")] == ["a", "b"]
    page.evaluate("push.close()")
    listens("three", "undefined")
    page.wait_for_function("window.push?.state == 'closed' && push.reason.status == 401")
