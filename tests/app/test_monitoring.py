"""What the views of an app show of its hubs and of its store."""

from __future__ import annotations

import collections.abc as cabc
import threading
import typing as t

import pytest
from flask import Flask
from flask import Response
from flask.testing import FlaskClient
from support.apps import hub_of
from support.apps import make_app
from support.servers import free_port

from flask_push import _monitoring
from flask_push import Push
from flask_push._delivery.figure_rows import FIGURES_OF_HUBS
from flask_push._delivery.figure_rows import HubFigures
from flask_push._delivery.figures import Figures
from flask_push.brokers import ItemChange

#: What servers of Prometheus send, of version 2 and 3, and another program.
ACCEPTS = [
    (
        "application/openmetrics-text;version=1.0.0,"
        "application/openmetrics-text;version=0.0.1;q=0.75,"
        "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        True,
    ),
    (
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
        "text/plain;version=0.0.4;q=0.4,*/*;q=0.2",
        True,
    ),
    ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", False),
    ("text/html,*/*;q=0.8", False),
    ("application/openmetrics-text;q=0, */*", False),
    ("", False),
]


@pytest.fixture
def push() -> Push:
    return Push()


def make_monitored(push: Push, **config: t.Any) -> Flask:
    app = make_app(push, PUSH_METRICS=True, **config)
    app.add_url_rule("/metrics", view_func=push.metrics)
    app.add_url_rule("/health", view_func=push.health)

    @app.get("/alive")
    def alive() -> Response:
        return push.health(store=False)

    return app


@pytest.fixture
def app(push: Push) -> cabc.Iterator[Flask]:
    app = make_monitored(push)
    yield app
    with app.app_context():
        push._services().close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def store_figures(push: Push, **figures: int) -> None:
    """As another hub does."""
    row = HubFigures("another", Figures(figures)).to_json()
    broker: t.Any = push._services().broker
    broker.change([ItemChange(FIGURES_OF_HUBS, "another", row, ttl=20)])


@pytest.mark.parametrize(("accept", "openmetrics"), ACCEPTS)
def test_a_view_answers_in_the_format_that_is_asked_for(
    push: Push, client: FlaskClient, accept: str, openmetrics: bool
) -> None:
    store_figures(push, streams=40)
    answer = client.get("/metrics", headers={"Accept": accept})
    assert answer.status_code == 200
    name, version = (
        ("application/openmetrics-text", "1.0.0")
        if openmetrics
        else ("text/plain", "0.0.4")
    )
    assert answer.content_type == f"{name}; version={version}; charset=utf-8"
    assert (answer.text[-6:] == "# EOF\n") == openmetrics
    assert "\nflask_push_streams 40\n" in answer.text
    assert "\nflask_push_up 1\n" in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Vary"] == "Accept"


def test_metrics_need_no_request(push: Push, app: Flask) -> None:
    assert push.metrics().get_data(as_text=True).endswith("\n# EOF\n")
    assert push.health().json == {"hub": "none", "store": "ok"}


def test_metrics_of_an_app_that_measures_nothing_name_the_key() -> None:
    push = Push()
    app = make_app(push)
    with app.app_context():
        with pytest.raises(RuntimeError, match="Set PUSH_METRICS to True"):
            push.metrics()
        push._services().close()


@pytest.fixture
def away() -> cabc.Iterator[FlaskClient]:
    """Of an app whose Redis does not run."""
    push = Push()
    url = f"redis://127.0.0.1:{free_port()}/0"
    app = make_monitored(push, PUSH_BROKER_URL=url)
    yield app.test_client()
    with app.app_context():
        push._services().close()


def test_a_store_that_cant_be_read_is_a_503(
    away: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    answer = away.get("/metrics")
    assert answer.status_code == 503
    assert answer.text == "The store can't be read. The log has the reason.\n"
    assert answer.headers["Cache-Control"] == "no-store"
    answer = away.get("/health")
    assert answer.status_code == 503
    assert answer.json == {"hub": "none", "store": "broken"}
    records = [each for each in caplog.records if each.module == "_monitoring"]
    lines = [record.getMessage() for record in records]
    assert [line.partition(":")[0] for line in lines] == [
        "Could not read the metrics; the response is a 503",
        "The store does not answer a probe",
    ]
    assert all("Connection refused" in line for line in lines)


def test_a_probe_for_a_restart_asks_no_store(away: FlaskClient) -> None:
    answer = away.get("/alive")
    assert (answer.status_code, answer.json) == (200, {"hub": "none"})


def test_a_probe_starts_no_hub_and_finds_the_one_that_runs(
    push: Push, client: FlaskClient
) -> None:
    for _ in range(2):
        answer = client.get("/health")
        assert (answer.status_code, answer.json) == (200, {"hub": "none", "store": "ok"})
        assert answer.content_type == "application/json"
        assert answer.headers["Cache-Control"] == "no-store"
    with client.get("/stream"):
        assert client.get("/health").json == {"hub": "ok", "store": "ok"}


def test_a_hub_that_does_not_answer_is_a_503(
    push: Push,
    client: FlaskClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(_monitoring, "_HUB_SECONDS", 0.1)
    ended = threading.Event()
    with client.get("/stream"):
        loop = hub_of(push)._hub.loop
        loop.call_soon_threadsafe(ended.wait, 20)
        try:
            for path in "/health", "/alive":
                answer = client.get(path)
                assert answer.status_code == 503 and answer.get_json()["hub"] == "broken"
        finally:
            ended.set()
        monkeypatch.undo()
        assert client.get("/health").json == {"hub": "ok", "store": "ok"}
    (record,) = caplog.records
    assert record.getMessage().startswith("The hub does not answer a probe: The thread")
