"""The cookie in which a browser gets its return ticket."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
from flask import Flask
from flask import Response
from support.cookie_paths import PATHS

from flask_push import Push
from flask_push._handoff.transplant import HAND_OVER

# Flask 3.0 has no partitioned cookies.
PARTITIONED = (
    ["Partitioned"] if "SESSION_COOKIE_PARTITIONED" in Flask.default_config else []
)


def test_without_a_secret_key_it_says_what_to_do(tmp_path: Path) -> None:
    app = Flask(__name__)
    app.config["PUSH_RETURN_TICKET"] = 60
    app.config["PUSH_RUN_DIR"] = tmp_path
    push = Push(app)
    with pytest.raises(RuntimeError, match="Set it to a long random text"):
        push.publish("a", "b")
    app.config["PUSH_HUB_PROCESSES"] = 2
    with pytest.raises(ValueError, match="Remove one of the two keys"):
        Push(app)


def test_old_keys_that_are_no_list_are_not_taken_for_keys_of_one_character(
    tmp_path: Path,
) -> None:
    app = Flask(__name__)
    app.config.update(PUSH_RETURN_TICKET=60, PUSH_RUN_DIR=tmp_path, SECRET_KEY="tests")
    app.config["SECRET_KEY_FALLBACKS"] = "old"
    push = Push(app)
    with pytest.raises(RuntimeError, match="SECRET_KEY_FALLBACKS is a list"):
        push.publish("a", "b")


def cookie_of(
    directory: Path,
    path: str = "/stream",
    environ: dict[str, str] | None = None,
    vary: str = "Cookie",
    ticket: str = "",
    **config: t.Any,
) -> str:
    """What a stream's response says of the cookie; empty if it sets none."""
    app = Flask("app")
    app.secret_key = "tests"
    app.config.update(PUSH_RETURN_TICKET=60, PUSH_RUN_DIR=str(directory), **config)
    push = Push(app)

    @app.get("/<path:name>")
    def stream(name: str) -> Response:
        response = push.stream("a")
        response.headers["Vary"] = vary
        return response

    # No hub is started, for no stream is handed over.
    overrides: dict[str, t.Any] = {**(environ or {}), HAND_OVER: lambda stream, adopt: None}
    client = app.test_client()
    if ticket:
        client.set_cookie("push_ticket", ticket)
    response = client.get(path, environ_overrides=overrides)
    assert response.status_code == 200
    found = [c for c in response.headers.getlist("Set-Cookie") if "push_ticket" in c]
    push._services().close()
    return re.sub("push_ticket=[^;]*; |Expires=[^;]*; ", "", "; ".join(found))


@pytest.mark.parametrize(
    ("config", "scheme", "attributes"),
    [
        ({}, "http", {"SameSite=Lax"}),
        ({}, "https", {"Secure", "SameSite=Lax"}),
        ({"SESSION_COOKIE_SECURE": True}, "http", {"Secure", "SameSite=Lax"}),
        ({"SESSION_COOKIE_SAMESITE": "Strict"}, "http", {"SameSite=Strict"}),
        (
            {"SESSION_COOKIE_SAMESITE": "None", "SESSION_COOKIE_SECURE": True},
            "http",
            {"Secure", "SameSite=None"},
        ),
        (
            {"SESSION_COOKIE_PARTITIONED": True, "SESSION_COOKIE_SECURE": True},
            "http",
            {"Secure", "SameSite=Lax", *PARTITIONED},
        ),
    ],
)
def test_a_ticket_is_protected_as_the_session_is(
    config: dict[str, t.Any], scheme: str, attributes: set[str], tmp_path: Path
) -> None:
    cookie = cookie_of(tmp_path, environ={"wsgi.url_scheme": scheme}, **config)
    always = {"HttpOnly", "Max-Age=60", "Path=/stream"}
    assert set(cookie.split("; ")) == attributes | always


@pytest.mark.parametrize("name", ["REQUEST_URI", "RAW_URI"])
@pytest.mark.parametrize("before", ["", "http://a.test:8000"])
@pytest.mark.parametrize("path", PATHS)
def test_the_path_of_a_cookie_is_that_of_the_request(
    path: str, before: str, name: str, tmp_path: Path
) -> None:
    environ = {name: f"{before}{path}?a=b"}
    assert cookie_of(tmp_path, path, environ).endswith(f"; Path={path}")


def test_a_path_that_the_server_does_not_tell_is_quoted_as_browsers_do(
    tmp_path: Path,
) -> None:
    for path in PATHS:
        if path not in ("/at/a%7Cb", "/at/a%2fb", "/at/%61", "/at/a%3Bb"):
            environ = {"REQUEST_URI": "", "RAW_URI": ""}
            assert cookie_of(tmp_path, path, environ).endswith(f"; Path={path}")
    # As behind a proxy that takes the beginning away, and says so.
    environ = {"REQUEST_URI": "/at/%C3%BC", "SCRIPT_NAME": "/shop"}
    assert cookie_of(tmp_path, "/at/ü", environ).endswith("; Path=/shop/at/%C3%BC")


def test_what_no_cookie_can_have_for_a_path_has_no_ticket(tmp_path: Path) -> None:
    assert cookie_of(tmp_path, "/at/a;b", {"REQUEST_URI": "/at/a;b"}) == ""
    assert cookie_of(tmp_path, "/at/a;b", {"REQUEST_URI": "", "RAW_URI": ""}) == ""


def test_a_ticket_that_the_stream_does_not_have_is_taken_back(tmp_path: Path) -> None:
    assert cookie_of(tmp_path, vary="Accept-Language") == ""
    assert "Max-Age=0" in cookie_of(tmp_path, vary="Accept-Language", ticket="x.y")
    assert "Max-Age=60" in cookie_of(tmp_path, ticket="x.y")
