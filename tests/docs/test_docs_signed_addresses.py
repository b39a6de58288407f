"""The page *Signed addresses*: what its code does is what the page says."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import itertools
import threading
import typing as t
import urllib.request
from pathlib import Path

import pytest
from flask import Flask
from support.browser import Windows
from support.pages import blocks
from support.pages import DOCS
from support.servers import end_hubs
from support.servers import free_port
from support.servers import gunicorn
from support.servers import Server

import flask_push
from flask_push import Event
from flask_push import Push
from flask_push.testing import read_events

PAGE = DOCS["signed-addresses"]
CONFIGURE, VIEW, AGAIN, IN_PYTHON, EXTERNAL, ORIGIN, BEARER = blocks(PAGE, "python")
FIRST, MODULE, ELEMENT = blocks(PAGE, "html")
CLOSED, BEARER_JS = blocks(PAGE, "js")

BEFORE = """
from types import SimpleNamespace

from flask import abort, Flask, render_template_string, request
from flask_push import Push

app = Flask("page", instance_path={directory!r})
app.secret_key = "tests"
login_required = lambda view: view
current_user = SimpleNamespace(id=7)
"""
AFTER = """
PAGE = {page!r}


@app.get("/")
def page():
    return render_template_string(PAGE)


@app.post("/publish")
def publish():
    return push.publish("user:7", request.get_data(as_text=True))


@app.post("/orders")
def order():
    return push.publish("orders", request.get_data(as_text=True))


def user_of(authorization):
    return 7 if authorization and authorization.token == "secret" else None
"""


@contextlib.contextmanager
def serving(directory: Path, code: str, page: str = "") -> cabc.Iterator[Server]:
    """An app of the page's code, whose addresses expire soon."""
    app = BEFORE.format(directory=str(directory)) + CONFIGURE + code
    app += AFTER.format(page=page.replace("expires=300", "expires=1"))
    (directory / "shop.py").write_text(app.replace("expires=300", "expires=1"))
    port = free_port()
    command = gunicorn("shop", port, "-w", "2")
    server = Server(command, port, directory / "server.log", {}, directory)
    try:
        yield server
    finally:
        server.kill()
        end_hubs(directory)


def heard(server: Server, page: t.Any, path: str = "/publish") -> None:
    """The page gets each event once, over several addresses."""
    sent: list[str] = []
    while page.evaluate("asked") < 2:
        sent.append(f'"{len(sent)}"')
        assert server.request("POST", path, sent[-1].encode())[0] == 200
        page.wait_for_timeout(30)
    page.wait_for_function("most => received.length >= most", arg=len(sent))
    assert page.evaluate("received") == [text.strip('"') for text in sent]


SHOW = """<script>
    window.received = [];
    window.asked = 0;
    window.show = data => received.push(data);
    const ask = window.fetch;
    window.fetch = (...given) => (asked++, ask(...given));
</script>"""


def test_a_page_gets_one_address_after_another(tmp_path: Path, windows: Windows) -> None:
    with serving(tmp_path, AGAIN, SHOW + MODULE) as server:
        page = windows.open(server.url)
        page.wait_for_function("asked")
        page.evaluate("asked = 0; received.length = 0")
        heard(server, page)


def test_an_element_gets_one_address_after_another(
    tmp_path: Path, windows: Windows
) -> None:
    code = AGAIN.replace('f"user:{current_user.id}"', '"orders"')
    listen = """<script>
        addEventListener("message", ({detail}) => detail && show(detail.data));
    </script>"""
    with serving(tmp_path, code, SHOW + listen + ELEMENT) as server:
        page = windows.open(server.url)
        page.wait_for_function(
            "document.querySelector('push-source').push?.state == 'open'"
        )
        heard(server, page, "/orders")


def test_a_page_of_another_origin_sends_its_bearer_token_only_for_addresses(
    tmp_path: Path, windows: Windows
) -> None:
    with serving(tmp_path, BEARER, SHOW) as server:
        origin = f"http://localhost:{server.port}"
        shop = tmp_path / "shop.py"
        shop.write_text(shop.read_text().replace("https://shop.example", origin))
        server.stop()
        server.start()
        page = windows.open(origin)
        code = BEARER_JS.replace("https://api.example", server.url)
        code = code.replace("flask-push/signed", "/push/signed.js")
        code = code.replace("const push =", "const push = window.push =")
        page.evaluate("window.token = 'secret'")
        page.add_script_tag(content=code, type="module")
        page.wait_for_function("window.push?.state == 'open'")
        page.evaluate("asked = 0")
        heard(server, page)
        page.evaluate("void push.on('error', ({message}) => window.failed = message)")
        page.evaluate("window.token = 'none'")
        page.wait_for_function("window.failed == 'there is no new address'")
        page.wait_for_function("push.state == 'closed' && push.reason.status == 410")


def test_a_page_without_push_js_is_loaded_again(tmp_path: Path, windows: Windows) -> None:
    html = SHOW + FIRST.replace("</script>", f"{CLOSED}</script>")
    with serving(tmp_path, "", html) as server:
        page = windows.open(server.url)
        page.evaluate("window.first = true")
        page.wait_for_function("!window.first")


def test_a_script_gets_one_address_after_another(tmp_path: Path) -> None:
    with serving(tmp_path, AGAIN.replace("user=cur", "_external=True, user=cur")) as server:
        found: list[str] = []
        asked: list[str] = []
        ended = threading.Event()

        def publish() -> None:
            while not ended.wait(0.1):
                server.request("POST", "/publish", b"%d" % next(numbers))

        def urlopen(url: str) -> t.Any:
            asked.append(url)
            return urllib.request.urlopen(url)

        def use(event: Event) -> None:
            found.append(event.data)
            if len(asked) > 2:
                raise EOFError

        numbers = itertools.count()
        thread = threading.Thread(target=publish)
        thread.start()
        names = {"flask_push": flask_push, "use": use, "urlopen": urlopen}
        try:
            with pytest.raises(EOFError):
                exec(IN_PYTHON.replace("https://shop.example", server.url), names)
        finally:
            ended.set()
            thread.join()
        first = int(found[0])
        assert found == [str(first + n) for n in range(len(found))]


# Without a server.


@pytest.fixture
def shop() -> cabc.Iterator[tuple[Flask, Push, dict[str, t.Any]]]:
    names: dict[str, t.Any] = {}
    exec(BEFORE.format(directory="/nonexistent"), names)
    names["app"].testing = True
    exec(CONFIGURE, names)
    yield names["app"], names["push"], names
    with names["app"].app_context():
        names["push"]._services().close()


def test_the_view_of_a_page_signs_what_it_grants(
    shop: tuple[Flask, Push, dict[str, t.Any]],
) -> None:
    app, push, names = shop
    exec(VIEW + ORIGIN, names)
    client = app.test_client()
    with client.get(client.get("/address").text) as response:
        push.publish("user:7", "x")
        assert [event.data for event in read_events(response, 1)] == ["x"]
        allowed = response.headers.getlist("Access-Control-Allow-Origin")
        assert allowed == ["https://shop.example"]
    assert "Access-Control-Allow-Origin" not in client.get("/address").headers


def test_an_address_for_other_origins_is_whole(
    shop: tuple[Flask, Push, dict[str, t.Any]],
) -> None:
    app, _, names = shop
    with app.test_request_context(base_url="https://shop.example"):
        url = eval(EXTERNAL, names)
    assert url.startswith("https://shop.example/push/stream?signed=")
