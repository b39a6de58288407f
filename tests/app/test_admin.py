"""The admin page: the guard is asked for all of it, and no other site can end streams."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import typing as t
from pathlib import Path

import pytest
from flask import abort
from flask import Flask
from flask import redirect
from flask import Response
from flask import session
from flask.testing import FlaskClient

from flask_push import _admin
from flask_push import _admin_lists
from flask_push import Push
from flask_push.testing import read_events
from flask_push.testing import read_to_end

PREFIX = "/ops/push"
OURS = {"X-Push-Admin": "1"}


class Site:
    """An app that is being tested, with an admin page."""

    def __init__(self, directory: Path, guard: t.Any, **config: t.Any) -> None:
        app = self.app = Flask("site", instance_path=str(directory))
        app.secret_key = "tests"
        app.config.update(TESTING=True, PUSH_ADMIN_URL_PREFIX=PREFIX, **config)
        self.push = Push(app, admin=guard)
        app.add_url_rule("/stream/<user>", "stream", self.stream)
        self.client: FlaskClient = app.test_client()

    def stream(self, user: str) -> Response:
        return self.push.stream("chat", user=user, session=f"secret of {user}")

    def end(self, headers: dict[str, str] = OURS, **body: t.Any) -> t.Any:
        return self.client.post(f"{PREFIX}/disconnect", json=body, headers=headers)

    def lists(self, query: str = "") -> dict[str, t.Any]:
        answer = self.client.get(f"{PREFIX}/lists{query}")
        assert answer.status_code == 200
        return t.cast(dict[str, t.Any], answer.get_json())


Make = cabc.Callable[..., Site]


@pytest.fixture
def make(tmp_path: Path) -> cabc.Iterator[Make]:
    with contextlib.ExitStack() as stack:

        def make(guard: t.Any = lambda: True, **config: t.Any) -> Site:
            site = Site(tmp_path, guard, **config)
            stack.callback(lambda: site.push._states[site.app].services().close())
            return site

        yield make


def paths(site: Site) -> list[tuple[str, str]]:
    """All addresses of the page, with a method of each."""
    rules = [r for r in site.app.url_map.iter_rules() if r.rule.startswith(PREFIX)]
    assert len(rules) > 10
    return [
        (rule.rule, "POST" if "POST" in (rule.methods or ()) else "GET") for rule in rules
    ]


def test_an_admin_page_without_a_guard_is_refused_at_the_start() -> None:
    app = Flask("site")
    app.config["PUSH_ADMIN_URL_PREFIX"] = PREFIX
    with pytest.raises(RuntimeError, match=r"Push\(app, admin=is_admin\)"):
        Push(app)
    with pytest.raises(TypeError, match="admin is a function"):
        Push(app, admin=t.cast(t.Any, "admin"))


def test_there_is_no_admin_page_by_default(tmp_path: Path) -> None:
    app = Flask("site", instance_path=str(tmp_path))
    app.config["TESTING"] = True
    Push(app, admin=lambda: True)
    assert not [r for r in app.url_map.iter_rules() if "admin" in r.endpoint]
    assert app.test_client().get("/push/admin/").status_code == 404


def test_the_page_turns_metrics_on(make: Make) -> None:
    site = make()
    assert site.push._states[site.app].services().config.options.metrics


@pytest.mark.parametrize("answer", [False, None])
def test_everything_is_404_for_those_who_may_not(answer: t.Any, make: Make) -> None:
    site = make(lambda: answer)
    for path, method in paths(site):
        found = site.client.open(path, method=method, headers=OURS, json={"user": "a"})
        assert found.status_code == 404, path
        assert b"Push" not in found.data


def test_a_response_of_the_guard_is_the_answer(make: Make) -> None:
    site = make(lambda: redirect("/login"))
    for path, method in paths(site):
        found = site.client.open(path, method=method)
        assert (found.status_code, found.location) == (302, "/login"), path


def test_the_guard_may_be_a_coroutine_use_the_session_and_abort(make: Make) -> None:
    pytest.importorskip("asgiref")
    said: list[str | None] = []

    async def guard() -> bool:
        said.append(session.get("user"))
        if said[-1] is None:
            abort(401)
        return True

    site = make(guard)
    assert site.client.get(f"{PREFIX}/").status_code == 401
    with site.client.session_transaction() as logged_in:
        logged_in["user"] = "ann"
    assert site.client.get(f"{PREFIX}/").status_code == 200
    assert said == [None, "ann"]


@pytest.mark.parametrize("answer", ["<p>Please log in</p>", 1, ("no", 403), object()])
def test_any_other_answer_of_the_guard_is_an_error(answer: t.Any, make: Make) -> None:
    """It might mean no, and be true."""
    site = make(lambda: answer)
    with pytest.raises(TypeError, match="has to return True, False, or a response"):
        site.client.get(f"{PREFIX}/lists")


def test_the_page_loads_only_its_own_files_and_no_other_site_may_frame_it(
    make: Make,
) -> None:
    page = make().client.get(f"{PREFIX}/")
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["Cache-Control"] == "no-store"
    assert "style=" not in page.text and "<script>" not in page.text
    assert "http" not in page.text.replace('http-equiv="', "")


def test_scripts_import_the_version_that_is_there(make: Make) -> None:
    site = make()
    script = site.client.get(f"{PREFIX}/admin.js")
    assert script.mimetype == "text/javascript"
    assert '"./items.js?v=' in script.text
    for name in "items.js", "push.js", "admin.css":
        assert site.client.get(f"{PREFIX}/{name}").status_code == 200
    assert site.client.get(f"{PREFIX}/push.classic.js").status_code == 404
    tag = {"If-None-Match": script.headers["ETag"]}
    assert site.client.get(f"{PREFIX}/admin.js", headers=tag).status_code == 304


def test_a_token_of_the_apps_forms_is_on_the_page_as_text(make: Make) -> None:
    site = make()
    site.app.jinja_env.globals["csrf_token"] = lambda: 'a"><b>'
    assert 'content="a&#34;&#62;&#60;b&#62;"' in site.client.get(f"{PREFIX}/").text


def test_streams_are_listed_and_found_without_their_sessions(make: Make) -> None:
    site = make()
    with site.client.get("/stream/ann"), site.client.get("/stream/ben"):
        found = site.lists()
        assert sorted(row["user"] for row in found["streams"]) == ["ann", "ben"]
        assert found["channels"] == [["chat", 2]] and found["problems"] == []
        assert "secret" not in json.dumps(found) and found["streams"][0]["session"] is True
        (row,) = site.lists("?user=ben&channel=")["streams"]
        assert row["user"] == "ben"
        assert site.lists("?channel=other")["streams"] == []


def test_a_user_a_session_or_a_channel_is_disconnected(make: Make) -> None:
    site = make()
    for end in "user", "channel", "session":
        with site.client.get("/stream/ann") as stream:
            (row,) = site.lists()["streams"]
            named = {"user": "ann", "channel": "chat"}.get(end)
            body = {end: named} if named else {"session_of": row["id"]}
            answer = site.end(**body, reason="why <b>")
            assert answer.status_code == 200 and answer.get_json()["position"]
            told = [e for e in read_to_end(stream, own=True) if "disconnect" in e.type]
            assert [event.json["reason"] for event in told] == ["why <b>"]


def test_what_names_nothing_or_too_much_ends_nothing(make: Make) -> None:
    site = make()
    with site.client.get("/stream/ann"):
        bodies: list[dict[str, t.Any]] = [
            *({}, {"user": "ann", "channel": "chat"}, {"users": "ann"}, {"user": ""}),
            *({"user": None}, {"channel": "push:hubs"}, {"user": "ann", "reason": 7}),
        ]
        for body in bodies:
            answer = site.end(**body)
            assert answer.status_code == 400 and answer.get_json()["problem"], body
        assert site.end(session_of="nobody").status_code == 410
        assert len(site.lists()["streams"]) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {**OURS, "Sec-Fetch-Site": "cross-site"},
        {**OURS, "Sec-Fetch-Site": "same-site"},
        {**OURS, "Origin": "https://evil.example"},
        {**OURS, "Origin": "null"},
        {**OURS, "Origin": "http://[bad"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
    ],
)
def test_no_other_site_can_end_streams(headers: dict[str, str], make: Make) -> None:
    site = make()
    with site.client.get("/stream/ann"):
        assert site.end(headers, user="ann").status_code == 403
        assert len(site.lists()["streams"]) == 1


@pytest.mark.parametrize(
    "more",
    [
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://other"},
        {"Origin": "http://localhost"},
    ],
)
def test_the_page_itself_can(more: dict[str, str], make: Make) -> None:
    """Behind a proxy the host may be another one, and what the browser says counts."""
    assert make().end({**OURS, **more}, user="ann").status_code == 200


def test_a_hub_that_does_not_answer_is_not_taken_for_a_stream_that_has_ended(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(asked: t.Any) -> t.NoReturn:
        raise TimeoutError("no answer")

    site = make()
    broken = _admin_lists.Hub(fail, fail)
    monkeypatch.setattr(_admin, "hubs_of", lambda services, files: [broken])
    answer = site.end(session_of="stream")
    assert answer.status_code == 503
    assert "could not be asked: no answer" in answer.get_json()["problem"]


def test_an_app_that_never_ends_streams_says_so(make: Make) -> None:
    answer = make(PUSH_DISCONNECT=False).end(user="ann")
    assert answer.status_code == 400
    assert "PUSH_DISCONNECT is False" in answer.get_json()["problem"]


def test_the_pages_stream_has_the_channel_that_no_view_can_grant(make: Make) -> None:
    site = make()
    with site.client.get(f"{PREFIX}/stream?channel=chat") as stream:
        (opened,) = read_events(stream, 1, own=True)
        assert opened.json["channels"] == ["push:hubs"]
    with site.app.test_request_context("/"):
        with pytest.raises(ValueError, match="Flask-Push's own"):
            site.push.stream("push:hubs")
