"""Signed addresses of streams: what they grant, for how long, and to whom."""

from __future__ import annotations

import base64
import collections.abc as cabc
import hashlib
import json
import secrets
import time
import typing as t
from urllib.parse import parse_qsl
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask import render_template_string
from flask import request
from flask import session
from flask.testing import FlaskClient
from itsdangerous import URLSafeSerializer
from support.apps import make_app

from flask_push import _signed
from flask_push import Push
from flask_push.testing import read_events
from flask_push.testing import read_to_end

PATH = "/push/stream"


@pytest.fixture
def push() -> Push:
    return Push()


@pytest.fixture
def app(push: Push) -> cabc.Iterator[Flask]:
    app = make_app(push, PUSH_STREAM_URL=PATH)
    yield app
    with app.app_context():
        push._services().close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def sign(app: Flask, *channels: str, **options: t.Any) -> str:
    """An address that the app has signed."""
    push: Push = app.extensions["push"]
    with app.test_request_context():
        return push.stream_url(*channels or ("a",), **{"expires": 60, **options})


def signed_in(url: str) -> str:
    return dict(parse_qsl(urlsplit(url).query))["signed"]


def stream_of(app: Flask, url: str) -> t.Any:
    """The stream that the hub would get."""
    with app.test_request_context(url):
        response: t.Any = app.extensions["push"]._signed_stream(app, request)
        return response.stream_


# What it grants.


def test_an_address_needs_no_view(push: Push, app: Flask, client: FlaskClient) -> None:
    @app.get("/page")
    def page() -> str:
        return render_template_string(
            "{{ push_stream_url('user:7', user=7, expires=300) }}"
        )

    url = client.get("/page").text
    assert url.startswith(f"{PATH}?signed=")
    with client.get(url) as response:
        push.publish("user:7", "hi")
        assert [event.data for event in read_events(response, 1)] == ["hi"]
        assert "Set-Cookie" not in response.headers


def test_all_that_a_stream_may_have_is_signed(app: Flask) -> None:
    given: dict[str, t.Any] = {
        **{"user": 7, "session": "one", "last": 3, "every": 0.5, "lifetime": 20},
        "present": {"room": {"name": "Ann"}},
        **{"watch": ["room"], "counted": ["hall"]},
    }
    stream = stream_of(app, sign(app, "a", "ü", "a", **given))
    assert stream.channels == ("a", "ü")
    assert (stream.user, stream.session, stream.last) == ("7", "one", 3)
    assert (stream.every, stream.lifetime) == (0.5, 20)
    assert stream.presence.present == (("room", '{"name":"Ann"}'),)
    assert (stream.presence.watch, stream.presence.counted) == (("room",), ("hall",))


def test_the_query_beside_it_grants_nothing(app: Flask) -> None:
    url = sign(app, "a", replay=False)
    wide = (
        "&channel=b&user=8&session=x&last=9&replay=1&watch=b&present=b&expires=9999999999"
    )
    stream = stream_of(app, f"{url}{wide}&signed=x&last_event_id=e-1&lifetime=9999")
    plain = stream_of(app, url)
    unlike = {"connection", "position", "lifetime"}
    for name in set(stream._fields) - unlike:
        assert getattr(stream, name) == getattr(plain, name), name
    assert not stream.position.startswith("e-1"), "replay=False holds"
    assert stream.lifetime <= 61


def test_the_query_says_how_a_browser_wants_it(app: Flask) -> None:
    url = sign(app, "a", every=5)
    asked = "&visible=1&poll=1&items=1&last_event_id=e-1.a&connection=0123456789abcdef"
    stream = stream_of(app, f"{url}{asked}")
    assert stream.visible and stream.poll and stream.items and stream.every == 0
    assert stream.position == "e-1.a" and stream.connection == "0123456789abcdef"


def test_a_stream_never_outlives_its_address(app: Flask) -> None:
    app.config["PUSH_LIFETIME"] = 0
    stream = stream_of(app, sign(app, expires=60))
    assert 58 < stream.lifetime <= 61, "for a hub of an older version"
    assert stream.expires


# Whether it is valid.


def status(client: FlaskClient, url: str) -> int:
    with client.get(url) as response:
        return response.status_code


def test_an_address_that_has_expired_is_gone(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = sign(app, expires=60)
    assert status(client, url) == 200
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    response = client.get(url)
    assert response.status_code == 410
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert signed_in(url) not in response.text


def test_an_address_that_was_changed_is_gone(app: Flask, client: FlaskClient) -> None:
    url = sign(app, "a", user=7)
    signed = signed_in(url)
    body, _, signature = signed.rpartition(".")
    says = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    wider = base64.urlsafe_b64encode(json.dumps({**says, "channels": ["b"]}).encode())
    for bad in (
        *("", "x", signed[:-2], signed[1:], f"{signed}x", body, f".{signed}", "é" * 9),
        f"{wider.decode().rstrip('=')}.{signature}",
        "x" * 100_000,
    ):
        assert client.get(PATH, query_string={"signed": bad}).status_code == 410, bad
    assert client.get(PATH).status_code == 410
    assert status(client, url) == 200


def test_an_address_of_another_purpose_or_another_app_is_gone() -> None:
    # Without disconnects, the store's epoch is not compared.
    config: dict[str, t.Any] = {"PUSH_STREAM_URL": PATH, "PUSH_DISCONNECT": False}
    app, other = (make_app(Push(), name, **config) for name in ("app", "other"))
    client = app.test_client()
    assert status(client, sign(app)) == 200
    assert status(client, sign(other)) == 410
    says = {"v": 1, "channels": ["a"], "expires": 9999999999}
    right = _signed._serializer(app)
    for salt in b"cookie-session", b"flask-push signed address":
        signed = URLSafeSerializer(
            "tests", salt=salt, signer_kwargs=right.signer_kwargs
        ).dumps(says)
        assert client.get(PATH, query_string={"signed": signed}).status_code == 410
    signed = right.dumps({**says, "v": 2})
    assert client.get(PATH, query_string={"signed": signed}).status_code == 410
    for each in app, other:
        with each.app_context():
            each.extensions["push"]._services().close()


def test_an_address_is_not_a_session(app: Flask, client: FlaskClient) -> None:
    @app.get("/session")
    def show() -> dict[str, t.Any]:
        return dict(session)

    client.set_cookie("session", signed_in(sign(app)))
    assert client.get("/session").json == {}


def test_addresses_of_an_old_key_are_valid_while_it_is_a_fallback(
    app: Flask, client: FlaskClient
) -> None:
    old = sign(app)
    app.secret_key = "newer"
    assert status(client, old) == 410
    app.config["SECRET_KEY_FALLBACKS"] = ["tests"]
    assert status(client, old) == 200
    new = sign(app)
    app.config["SECRET_KEY_FALLBACKS"] = []
    assert status(client, new) == 200, "the new key signs"


def test_a_fallback_that_is_no_list_is_not_taken_for_keys_of_one_character(
    app: Flask, client: FlaskClient
) -> None:
    says = {"v": 1, "channels": ["a"], "expires": time.time() + 60}
    salt = f"flask-push signed address\0{app.name}"
    options: t.Any = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
    forged = URLSafeSerializer("o", salt=salt, signer_kwargs=options).dumps(says)
    app.config["SECRET_KEY_FALLBACKS"] = ["o"]
    assert status(client, f"{PATH}?signed={forged}") == 200
    app.config["SECRET_KEY_FALLBACKS"] = "old"
    with pytest.raises(RuntimeError, match="SECRET_KEY_FALLBACKS"):
        sign(app)
    with pytest.raises(RuntimeError, match="SECRET_KEY_FALLBACKS"):
        status(client, f"{PATH}?signed={forged}")


# Disconnected.


def test_an_address_that_was_made_before_a_disconnect_is_gone(
    push: Push, app: Flask, client: FlaskClient
) -> None:
    old, other = sign(app, user=7), sign(app, user=8)
    with client.get(old) as response:
        read_events(response, 1, own=True)
        push.disconnect(user=7, reason="bye")
        (event,) = read_to_end(response, own=True)
        assert event.type == "push:disconnect"
    assert status(client, old) == 410
    assert status(client, other) == 200
    assert status(client, sign(app, user=7)) == 200, "one that was made later is valid"


def test_the_address_of_a_disconnected_session_is_gone_whenever_it_was_made(
    push: Push, app: Flask, client: FlaskClient
) -> None:
    push.disconnect(session="one")
    assert status(client, sign(app, session="one")) == 410
    assert status(client, sign(app, session="two")) == 200


def test_a_user_who_is_disconnected_while_a_view_decides_gets_no_valid_address(
    push: Push, app: Flask, client: FlaskClient
) -> None:
    @app.get("/address")
    def address() -> str:
        push.disconnect(user=7)
        return push.stream_url("a", user=7, expires=60)

    assert status(client, client.get("/address").text) == 410


def test_without_disconnects_only_the_time_counts(client: FlaskClient) -> None:
    push = Push()
    app = make_app(push, PUSH_STREAM_URL=PATH, PUSH_DISCONNECT=False)
    url = sign(app, session="one")
    assert status(app.test_client(), url) == 200
    assert stream_of(app, url).seen == ""
    with app.app_context():
        push._services().close()


# Where it is.


def test_its_address_is_that_of_the_page_or_of_the_world(app: Flask) -> None:
    push: Push = app.extensions["push"]
    with app.test_request_context(base_url="https://x.test/shop"):
        here = push.stream_url("a", expires=60)
        world = push.stream_url("a", expires=60, _external=True)
    assert here.startswith(f"/shop{PATH}?signed=")
    assert world.startswith(f"https://x.test/shop{PATH}?signed=")
    with app.app_context():
        with pytest.raises(RuntimeError, match="SERVER_NAME"):
            push.stream_url("a", expires=60)
        app.config["SERVER_NAME"] = "y.test"
    with app.app_context():
        assert push.stream_url("a", expires=60).startswith(f"http://y.test{PATH}?signed=")


@pytest.mark.parametrize("how", ["host", "subdomain"])
def test_it_has_the_host_of_the_page(how: str) -> None:
    push = Push()
    matching: t.Any = {f"{how}_matching": True}
    app = Flask("app", static_folder=None, **matching)
    app.testing = True
    app.config.update(SECRET_KEY="x", PUSH_STREAM_URL=PATH, SERVER_NAME="a.test")
    push.init_app(app)
    place: t.Any = {"host": "shop.a.test"} if how == "host" else {"subdomain": "shop"}
    app.add_url_rule("/p", "p", lambda: push.stream_url("a", expires=9), **place)
    client = app.test_client()
    url = client.get("/p", base_url="http://shop.a.test").text
    assert url.startswith(f"{PATH}?signed=")
    with client.get(url, base_url="http://shop.a.test") as response:
        assert response.status_code == 200
    push._services().close()


def test_any_origin_may_read_it_and_the_app_may_forbid_that(
    app: Flask, client: FlaskClient
) -> None:
    url = sign(app)
    with client.get(url, headers={"Origin": "https://x.test"}) as response:
        assert response.headers["Access-Control-Allow-Origin"] == "*"
    asked = client.options(url, headers={"Origin": "https://x.test"})
    assert asked.status_code == 204
    assert asked.headers["Access-Control-Allow-Headers"] == "*"
    assert asked.headers["Access-Control-Allow-Methods"] == "GET, POST"

    app._got_first_request = False

    @app.after_request
    def only(response: t.Any) -> t.Any:
        response.headers["Access-Control-Allow-Origin"] = "https://y.test"
        return response

    with client.get(url) as response:
        allowed = response.headers.getlist("Access-Control-Allow-Origin")
        assert allowed == ["https://y.test"]


def test_a_page_may_ask_for_it_by_post(push: Push, app: Flask, client: FlaskClient) -> None:
    with client.post(sign(app, "a"), data={"channel": ["b"]}) as response:
        push.publish("b", "not granted")
        push.publish("a", "granted")
        assert [event.data for event in read_events(response, 1)] == ["granted"]


def test_a_head_request_begins_no_stream(app: Flask, client: FlaskClient) -> None:
    assert client.head(sign(app)).status_code == 200
    assert client.head(f"{PATH}?signed=x").status_code == 410


# Mistakes.


def test_nothing_is_served_unless_the_key_is_set() -> None:
    app = make_app(push := Push())
    assert app.test_client().get(PATH).status_code == 404
    with app.test_request_context():
        with pytest.raises(RuntimeError, match="PUSH_STREAM_URL"):
            push.stream_url("a", expires=60)
        with pytest.raises(RuntimeError, match="PUSH_STREAM_URL"):
            render_template_string("{{ push_stream_url('a', expires=60) }}")
    push._services().close()


def test_an_app_without_scripts_and_addresses_gets_nothing_in_its_templates() -> None:
    app = make_app(Push(), PUSH_URL_PREFIX=None)
    assert "jinja_env" not in vars(app), "it may still set options of Jinja"
    app = make_app(Push(), PUSH_URL_PREFIX=None, PUSH_STREAM_URL=PATH)
    assert "push_stream_url" in app.jinja_env.globals


def test_an_app_without_a_key_gets_an_error_that_names_it(
    push: Push, app: Flask, client: FlaskClient
) -> None:
    url = sign(app)
    app.secret_key = None
    with pytest.raises(RuntimeError, match="SECRET_KEY"):
        sign(app)
    assert status(client, url) == 410


@pytest.mark.parametrize(
    ("channels", "options", "error", "problem"),
    [
        ([], {}, ValueError, "at least one channel"),
        (["x" * 65], {}, ValueError, "64"),
        ([7], {}, TypeError, "name is text"),
        (["a"], {"expires": 0}, ValueError, "from 1 to 86,400"),
        (["a"], {"expires": 86401}, ValueError, "from 1 to 86,400"),
        (["a"], {"expires": float("nan")}, ValueError, "from 1 to 86,400"),
        (["a"], {"expires": "60"}, TypeError, "expires is the seconds"),
        (["a"], {"expires": True}, TypeError, "expires is the seconds"),
        (["a"], {"user": ""}, ValueError, "user is empty"),
        (["a"], {"last": -1}, ValueError, "last"),
        (["a"], {"replay": 1}, TypeError, "replay"),
        (["a"], {"every": 61}, ValueError, "every"),
        (["a"], {"lifetime": -1}, ValueError, "lifetime"),
        (["a"], {"present": {"a": 1}}, ValueError, "needs a user"),
        ([str(n) for n in range(101)], {}, ValueError, "PUSH_MAX_CHANNELS"),
    ],
)
def test_an_address_that_could_not_be_granted_is_not_signed(
    channels: list[t.Any],
    options: dict[str, t.Any],
    error: type[Exception],
    problem: str,
    push: Push,
    app: Flask,
) -> None:
    with app.test_request_context(), pytest.raises(error, match=problem):
        push.stream_url(*channels, **{"expires": 60, **options})


def test_an_address_that_servers_would_refuse_is_not_signed(app: Flask) -> None:
    names = [secrets.token_urlsafe(48) for _ in range(100)]
    with pytest.raises(ValueError, match="Name fewer channels"):
        sign(app, *names)
    assert len(sign(app, *(f"user:{n}" for n in range(100)))) < 2000, "it is compressed"


def test_an_address_is_in_no_repr_or_log(
    push: Push, app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    url = sign(app, "a", user=7)
    signed = signed_in(url)
    with client.get(url) as response:
        shown = repr(response.response), repr(push), repr(push._services().hub)
        assert signed not in "".join(shown)
    push.disconnect(user=7)
    client.get(url)
    assert signed not in caplog.text
