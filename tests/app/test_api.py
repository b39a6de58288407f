"""The public functions, called with what they can't take: each says what to do instead, and
nothing of it reaches a store or a stream."""

from __future__ import annotations

import collections.abc as cabc
import datetime
import json
import typing as t
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
from flask import Blueprint
from flask import current_app
from flask import Flask
from flask import Response
from support.pushes import push as push
from support.runs import events_of

from flask_push import Event
from flask_push import Publisher
from flask_push import Push
from flask_push import sse
from flask_push.asgi import PushASGI
from flask_push.brokers import open_broker
from flask_push.testing import read_events

#: Arguments beside good ones, what is raised, and words of the message.
Case = tuple[dict[str, t.Any], type[Exception], str]


def each(
    name: str, values: cabc.Iterable[t.Any], error: type[Exception], words: str
) -> list[Case]:
    """The same for each value of one argument."""
    return [({name: value}, error, words) for value in values]


def nested(levels: int) -> list[t.Any]:
    found: list[t.Any] = []
    for _ in range(levels):
        found = [found]
    return found


def circle() -> list[t.Any]:
    found: list[t.Any] = []
    found.append(found)
    return found


NAN, INF = float("nan"), float("inf")
CHANNELS: list[tuple[t.Any, type[Exception], str]] = [
    ("", ValueError, "non-empty"),
    ("a" * 65, ValueError, "64 at most.*Use a shorter name"),
    ("é" * 22, ValueError, "64 at most"),
    ("\ud800", ValueError, "surrogate"),
]
NO_TEXT = [None, 5, b"a", ["a"], ("a",), {"a": 1}]

PUBLISHING: list[Case] = [
    *(({"channel": channel}, error, words) for channel, error, words in CHANNELS),
    *each("channel", NO_TEXT, ValueError, "non-empty string"),
    *each("data", [b"a", bytearray(b"a"), memoryview(b"a")], TypeError, "base64"),
    *each("data", [object(), {1, 2}], TypeError, "not JSON serializable"),
    *each("data", [NAN, {"mean": NAN}, ["NaN", NAN]], ValueError, "holds NaN.*Publish"),
    *each("data", [INF, [INF]], ValueError, "holds Infinity.*Publish None or text"),
    *each("data", [-INF, {"a": -INF}], ValueError, "holds -Infinity.*Publish None or text"),
    *each("data", [nested(100_000)], ValueError, "nested too deeply"),
    *each("data", [circle()], ValueError, "Circular"),
    *each("data", ["\ud800"], ValueError, "surrogate"),
    *each("data", ["x" * (2**20 + 1)], ValueError, "PUSH_MAX_EVENT_BYTES.*can be fetched"),
    *each(
        "data", ["x" * 2**20 + "\n"], ValueError, "line break counts seven.*can be fetched"
    ),
    *each(
        "data", ["\n" * 150_000], ValueError, "has 1,050,000 bytes of data.*counts seven"
    ),
    *each("type", ["t" * 257, "é" * 129], ValueError, "256 at most.*into the data"),
    *each("key", ["k" * 257, "é" * 129], ValueError, "256 at most.*Use a hash of it"),
    *each("type", ["", *NO_TEXT], ValueError, "non-empty string"),
    *each("type", ["a\n", "\r", "\0"], ValueError, "line break or NUL"),
    *each("type", ["push:open"], ValueError, "Flask-Push's own"),
    *each("type", ["open", "error"], ValueError, "Use another name"),
    *each("type", ["\ud800"], ValueError, "surrogate"),
    *each("key", ["", 5, b"k", ["k"]], ValueError, "non-empty string"),
    *each("key", ["\ud800"], ValueError, "surrogate"),
    *each("store", [None, 0, 1, "no"], TypeError, "True or False"),
]


@pytest.fixture
def publisher(tmp_path: Path) -> cabc.Iterator[Publisher]:
    publisher = Publisher(f"sqlite://{tmp_path}/push.db")
    yield publisher
    publisher.close()


def stored(of: Push | Publisher) -> list[str]:
    return [event.data for event in of.history("a", 99).events]


@pytest.mark.parametrize(("given", "error", "words"), PUBLISHING)
@pytest.mark.parametrize("of", ["push", "publisher"])
def test_an_invalid_event_is_refused_and_not_stored(
    of: str,
    given: dict[str, t.Any],
    error: type[Exception],
    words: str,
    request: pytest.FixtureRequest,
) -> None:
    publishes: Push | Publisher = request.getfixturevalue(of)
    good: dict[str, t.Any] = {"channel": "a", "data": "1"}
    with pytest.raises(error, match=words):
        publishes.publish(**{**good, **given})
    with pytest.raises(error, match=words):
        publishes.publish_many([Event("a", "2"), Event(**{**good, **given})])
    assert stored(publishes) == []
    publishes.publish(**good)
    assert stored(publishes) == ["1"]


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [case for case in PUBLISHING if {*case[0]} <= {"data", "type"}],
)
def test_an_invalid_event_is_refused_and_not_written_to_a_run(
    given: dict[str, t.Any], error: type[Exception], words: str, push: Push
) -> None:
    good: dict[str, t.Any] = {"data": "1"}
    with push.run("a") as run:
        with pytest.raises(error, match=words):
            run.write(**{**good, **given})
        if "data" in given:
            with pytest.raises(error, match=words):
                run.write_all(["2", given["data"]])
        run.write(**good)
    publisher = push._services().publisher
    assert events_of(publisher, "a")[2:-1] == (["2", "1"] if "data" in given else ["1"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        *((given, "a list of events") for given in (None, 5, Event("a", "1"))),
        *((given, r"flask_push\.Event") for given in ("a", {"a": "b"}, [None])),
        *((given, r"flask_push\.Event") for given in ([("a", "b")], [{"channel": "a"}])),
        ([Event("a", "1"), ("a", "2")], r"flask_push\.Event"),
    ],
)
def test_publish_many_refuses_anything_but_a_list_of_events(
    given: t.Any, words: str, push: Push
) -> None:
    with pytest.raises(TypeError, match=words):
        push.publish_many(given)
    assert stored(push) == []


def test_events_that_end_in_an_exception_are_not_stored(push: Push) -> None:
    def events() -> cabc.Iterator[Event]:
        yield Event("a", "1")
        raise KeyError("the caller's own")

    with pytest.raises(KeyError):
        push.publish_many(events())
    assert stored(push) == []


@pytest.mark.parametrize("exclude", [5, True, b"a.b", ["a.b"], {"a": "b"}, "a.b", "\ud800"])
def test_exclude_with_any_other_text_excludes_no_connection(
    exclude: t.Any, push: Push
) -> None:
    """A page may send anything as its connection."""
    push.publish("a", "1", exclude=exclude)
    push.publish_many([Event("a", "2", exclude=exclude)])
    assert stored(push) == ["1", "2"]


# JSON.


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_text_data_need_not_be_json(text: str, push: Push) -> None:
    push.publish("a", text)
    push.publish("a", {text: [text, 1]})
    assert stored(push) == [text, json.dumps({text: [text, 1]})]


def test_dumps_may_return_bytes(push: Push, tmp_path: Path) -> None:
    (app,) = push._states

    def dumps(data: t.Any, **_: t.Any) -> bytes:
        return json.dumps(data, ensure_ascii=False).encode()

    app.json.dumps = dumps  # type: ignore[method-assign, assignment]
    push.publish("a", ["é"])
    assert stored(push) == ['["é"]']
    publisher = Publisher(f"sqlite://{tmp_path}/push.db", dumps=dumps)
    publisher.publish("a", ["é"])
    assert stored(publisher) == ['["é"]']
    publisher.close()


@pytest.mark.parametrize("made", [None, 5, ["a"], bytearray(b"5")])
def test_dumps_that_does_not_return_text_is_refused(made: t.Any, tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/push.db"
    publisher = Publisher(url, dumps=lambda _: made)
    with pytest.raises(TypeError, match="dumps has to return JSON as text"):
        publisher.publish("a", {})
    with pytest.raises(ValueError, match="utf-8"):
        Publisher(url, dumps=lambda _: b"\xff").publish("a", {})
    assert stored(publisher) == []
    publisher.close()


# What is read.


@pytest.mark.parametrize(
    ("channel", "error", "words"),
    [*CHANNELS, *((channel, ValueError, "non-empty string") for channel in NO_TEXT)],
)
def test_a_history_of_an_invalid_channel_is_refused(
    channel: t.Any, error: type[Exception], words: str, push: Push
) -> None:
    with pytest.raises(error, match=words):
        push.history(channel, 5)


@pytest.mark.parametrize("last", [-1, 1.5, True, "5", None])
def test_a_history_of_an_invalid_number_of_events_is_refused(
    last: t.Any, push: Push
) -> None:
    with pytest.raises(ValueError, match="last is a number of events"):
        push.history("a", last)


# Streams.

DAY = datetime.timedelta(days=1)

STREAMS: list[Case] = [
    *(({"channels": [channel]}, error, words) for channel, error, words in CHANNELS),
    *each("channels", [[c] for c in NO_TEXT], TypeError, r"push\.stream\(\*channels\)"),
    *each("last", [-1, 1.5, "5", True], ValueError, "number of events"),
    *each("user", [True, 1.5, b"a", {}, ()], TypeError, r"str\(user\.id\)"),
    *each("user", [""], ValueError, "Pass None"),
    *each("user", ["\ud800"], ValueError, "surrogate"),
    *each("lifetime", [-1, INF, NAN, 10**400], ValueError, "from 0 to"),
    *each("lifetime", ["60", DAY, True, []], ValueError, "number of seconds"),
    *each("replay", [None, 0, "no"], TypeError, "True or False"),
    *each("every", [-1, 61, INF, NAN, 10**400], ValueError, "from 0 to 60"),
    *each("every", ["1", DAY, True, None], TypeError, "every=0.5"),
]


@pytest.mark.parametrize(("given", "error", "words"), STREAMS)
def test_a_stream_with_invalid_arguments_is_refused(
    given: dict[str, t.Any], error: type[Exception], words: str, push: Push
) -> None:
    (app,) = push._states
    channels = given.pop("channels", ["a"])
    with app.test_request_context(), pytest.raises(error, match=words):
        push.stream(*channels, **given)


@pytest.mark.parametrize(
    "user", ["ann", "é", 7, 0, UUID(int=7), None, type("Name", (str,), {})("ann")]
)
def test_user_may_be_text_a_number_or_a_uuid(user: t.Any, push: Push) -> None:
    (app,) = push._states
    with app.test_request_context():
        stream = push.stream("a", user=user).stream_
    assert stream.user == (None if user is None else str(user))
    assert type(stream.user) in (str, type(None))


@pytest.mark.parametrize("channel", ["a" * 65, "é" * 22])
def test_an_invalid_channel_from_the_request_is_a_bad_request(
    channel: str, push: Push
) -> None:
    (app,) = push._states

    @app.get("/stream/<channel>")
    def stream(channel: str) -> Response:
        return push.stream(channel)

    app.testing = False
    response = app.test_client().get(f"/stream/{channel}")
    assert response.status_code == 400 and "64 at most" in response.text


def test_stream_and_requested_need_a_request(push: Push) -> None:
    for of_a_request in push.requested, partial(push.stream, "a"):
        with pytest.raises(RuntimeError, match="request context"):
            of_a_request()


# Apps.


@pytest.mark.parametrize("app", [None, "app", 5, Flask, Blueprint("b", "b"), Push()])
def test_init_app_refuses_anything_but_a_flask_app(app: t.Any) -> None:
    with pytest.raises(TypeError, match="for a Flask app"):
        Push().init_app(app)
    if app is not None:
        with pytest.raises(TypeError, match="for a Flask app"):
            Push(app)
        with pytest.raises(TypeError, match="for a Flask app"):
            Push().bridge("redis:a", channel="a", app=app)


def test_current_app_can_be_passed_as_the_app(push: Push) -> None:
    app = Flask("other")
    app.testing = True
    with app.app_context():
        other = Push(current_app)
        other.bridge("redis:a", channel="a", app=current_app)
    assert repr(other) == "<Push ['other']>"
    assert list(other._states) == [app]
    assert type(next(iter(other._states))) is Flask


@pytest.mark.parametrize(
    ("given", "words"),
    [({"source": source}, "'redis:chat'") for source in (None, "", "chat", "redis:", 5)]
    + [({"channel": channel}, words) for channel, _, words in CHANNELS]
    + [({"type": type}, "[Tt]ype") for type in ("", None, 5, "open", "push:x", "a\nb")]
    + [({"wire": wire}, "'flask-sse', or None") for wire in ("", 5, "flask_sse", "push")],
)
def test_a_bridge_with_invalid_arguments_is_refused(
    given: dict[str, t.Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Push().bridge(**{"source": "redis:a", "channel": "a", **given})


# Publishers.


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        *each("url", [None, 5, b"a"], TypeError, "A store's URL is text"),
        *each("url", ["", "push.db", "ftp://a"], ValueError, "begins with one of"),
        *each("timeout", [None, "2", True, DAY], TypeError, "seconds"),
        *each("timeout", [0, -1, NAN, INF], ValueError, "above 0"),
        *each("max_event_bytes", [None, "2", True, 1.5], TypeError, "a number"),
        *each("max_run_bytes", [None, "2", True, 1.5], TypeError, "max_run_bytes is a num"),
        *each("max_run_bytes", [-1, 0, 1023, 2**26 + 1], ValueError, "1024 to 67108864"),
        *each("dumps", [None, "json", json], TypeError, r"json\.dumps"),
    ],
)
def test_a_publisher_with_invalid_arguments_is_refused(
    given: dict[str, t.Any], error: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        Publisher(**{"url": f"sqlite://{tmp_path}/push.db", **given})
    if "url" in given:
        with pytest.raises(error, match=words):
            open_broker(given["url"])


def test_a_publisher_takes_a_broker_in_place_of_its_url(tmp_path: Path) -> None:
    broker = open_broker(f"sqlite://{tmp_path}/push.db")
    publisher = Publisher(broker, max_event_bytes=5)
    publisher.publish("a", "12345")
    (entry,) = broker.read(["a"], last=9).entries
    assert entry.data == b"12345"
    with pytest.raises(ValueError, match="PUSH_MAX_EVENT_BYTES"):
        publisher.publish("a", "123456")
    publisher.close()


# What is useful alone.


@pytest.mark.parametrize(
    ("given", "words"),
    [
        *(({"data": data}, "Data is text") for data in (b"a", 5, ["a"], {"a": 1})),
        *(({"type": type}, "non-empty string") for type in (None, "", 5, b"a")),
        *(({"id": id}, "the characters") for id in ("", 5, b"a", "a b", "é", "a" * 193)),
        *(({"retry": retry}, "milliseconds") for retry in (0, -1, 1.5, "500", True)),
    ],
)
def test_encode_refuses_invalid_arguments(given: dict[str, t.Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        sse.encode(**{"data": "a", **given})


@pytest.mark.parametrize("app", [None, "app:app", 5])
def test_push_asgi_refuses_anything_but_an_app(app: t.Any) -> None:
    with pytest.raises(TypeError, match="a Flask app, or one around it"):
        PushASGI(app)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "10", None, True])
def test_push_asgi_refuses_an_invalid_number_of_threads(threads: t.Any, push: Push) -> None:
    (app,) = push._states
    with pytest.raises(ValueError, match="threads is a whole number"):
        PushASGI(app, threads=threads)


@pytest.mark.parametrize("count", [-1, 1.5, "2", None, True])
def test_read_events_refuses_an_invalid_number(count: t.Any, push: Push) -> None:
    (app,) = push._states
    app.add_url_rule("/stream", view_func=lambda: push.stream("a"))
    with app.test_client().get("/stream") as response:
        with pytest.raises(ValueError, match="count is a number of events"):
            read_events(response, count)
        push.publish("a", "1")
        assert [event.data for event in read_events(response, 1)] == ["1"]


def test_read_events_refuses_a_response_without_a_stream(push: Push) -> None:
    (app,) = push._states
    app.add_url_rule("/page", view_func=lambda: ("<p>No", 401))
    with app.test_client().get("/page") as response:
        with pytest.raises(ValueError, match="401.*text/html.*is no stream"):
            read_events(response, 1)
    for odd in None, "stream", 5:
        with pytest.raises(TypeError, match="the response of a test client"):
            read_events(t.cast(t.Any, odd), 1)
