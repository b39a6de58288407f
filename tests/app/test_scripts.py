"""How an app serves the scripts for browsers."""

from __future__ import annotations

import gzip

import pytest
from flask import Flask

from flask_push import Push
from flask_push._scripts import script
from flask_push._scripts import script_url
from flask_push._scripts import SCRIPTS


def test_scripts_are_cached_forever_by_version_and_revalidated_by_name() -> None:
    app = Flask(__name__)
    app.testing = True
    Push(app)
    Push(app)
    client = app.test_client()
    with app.test_request_context():
        url = app.jinja_env.from_string("{{ push_script_url() }}").render()
    kept = client.get(url)
    assert kept.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert kept.content_type == "text/javascript; charset=utf-8"
    checked = client.get("/push/push.js")
    assert checked.headers["Cache-Control"] == "public, no-cache"
    again = client.get("/push/push.js", headers={"If-None-Match": checked.headers["ETag"]})
    assert again.status_code == 304
    for name in SCRIPTS:
        assert client.get(f"/push/{name}").status_code == 200
    assert client.get("/push/other.js").status_code == 404


def test_the_scripts_can_have_another_prefix_or_none() -> None:
    for prefix, path in ("/live/x", "/live/x/push.js"), (None, "/push/push.js"):
        app = Flask(__name__)
        app.config["PUSH_URL_PREFIX"] = prefix
        Push(app)
        assert app.test_client().get(path).status_code == (200 if prefix else 404)


@pytest.mark.parametrize("first", [True, False])
def test_the_app_serves_all_other_addresses_below_the_prefix(first: bool) -> None:
    app = Flask(__name__)
    push = Push(app) if first else Push()

    @app.get("/push/<token>")
    def unsubscribe(token: str) -> str:
        return f"bye {token}"

    @app.post("/push/push.js")
    def other() -> str:
        return "posted"

    push.init_app(app)
    client = app.test_client()
    assert client.get("/push/abc").text == "bye abc"
    assert client.get("/push/other.js").text == "bye other.js"
    assert client.post("/push/push.js").text == "posted"
    for name in SCRIPTS:
        assert client.get(f"/push/{name}").content_type.startswith("text/")
        assert client.get(f"/push/{name}").data == script(name).text.encode()


def page_of(app: Flask, host: str) -> str:
    """The address of push.js in a page of that host."""
    page = app.test_client().get("/page", base_url=f"http://{host}")
    assert page.status_code == 200
    return page.text


def test_scripts_have_the_host_of_the_page_where_routes_match_hosts() -> None:
    app = Flask(__name__, static_folder=None, host_matching=True)
    Push(app)
    for host in "a.test", "b.test:8000":
        app.add_url_rule("/page", host, script_url, host=host)
    for host in "a.test", "b.test:8000":
        url = page_of(app, host)
        assert url.startswith("/push/push.js?v=")
        response = app.test_client().get(url, base_url=f"http://{host}")
        assert "immutable" in response.headers["Cache-Control"]
    app.config["SERVER_NAME"] = "c.test"
    with app.app_context():
        assert script_url().startswith("http://c.test/push/push.js?v=")


def test_scripts_have_the_subdomain_of_the_page() -> None:
    app = Flask(__name__, subdomain_matching=True)
    app.config["SERVER_NAME"] = "a.test"
    Push(app)
    app.add_url_rule("/page", "page", script_url)
    app.add_url_rule("/page", "shop", script_url, subdomain="shop")
    for host in "a.test", "shop.a.test":
        url = page_of(app, host)
        assert url.startswith("/push/push.js?v=")
        response = app.test_client().get(url, base_url=f"http://{host}")
        assert "immutable" in response.headers["Cache-Control"]


def test_an_unknown_script_has_no_address() -> None:
    app = Flask(__name__)
    Push(app)
    with app.test_request_context(), pytest.raises(ValueError, match="extras.classic.js"):
        script_url("pusch.js")


def test_the_scripts_are_small() -> None:
    push, extras, items, presence, element = (
        len(gzip.compress(script(name).text.encode(), 9, mtime=0))
        for name in ("push.js", "extras.js", "items.js", "presence.js", "element.js")
    )
    assert push <= 4 * 1024
    assert push + extras <= 6 * 1024
    assert push + items <= 5 * 1024
    assert push + items + presence <= 5.5 * 1024
    assert push + items + element <= 6 * 1024
    assert push + items + presence + element <= 6.5 * 1024
    signed = len(gzip.compress(script("signed.js").text.encode(), 9, mtime=0))
    assert push + signed <= 4.75 * 1024
    # It needs no other script.
    assert len(gzip.compress(script("follow.js").text.encode(), 9, mtime=0)) <= 1.75 * 1024
