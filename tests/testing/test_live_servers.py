"""A test and the server that it starts share one store, as the page about tests says."""

from __future__ import annotations

from pathlib import Path

from support.apps import app as app
from support.apps import client as client
from support.apps import make_app
from support.apps import push as push
from support.servers import flask_run
from support.servers import serve

from flask_push import connect
from flask_push import Event
from flask_push import Push
from flask_push.testing import captured
from flask_push.testing import make_gap
from flask_push.testing.fixtures import published as published
from flask_push.testing.fixtures import push_server as push_server


def test_a_server_in_another_process_shares_the_store_of_its_test(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/push.db"
    push = Push()
    app = make_app(push, PUSH_BROKER_URL=url)
    with serve(flask_run, tmp_path, PUSH_BROKER_URL=url) as server:
        with connect(f"{server.url}/stream?channel=a", last_id=push.position()) as page:
            with captured(push) as events:
                push.publish("a", {"text": "hi"})
            event = next(page)
            assert event.id == events[0].id
            assert event.json == {"text": "hi"}
    with app.app_context():
        push._services().close()


def test_a_test_reads_what_a_page_of_its_server_would_receive(
    push: Push, push_server: str, published: list[Event]
) -> None:
    with connect(f"{push_server}/stream", last_id=push.position()) as page:
        push.publish("a", "1")
        assert next(page).data == "1"
        make_gap("a")
        assert next(page).type == "push:gap"
        push.publish("a", "2")
        assert next(page).data == "2"
    assert [event.data for event in published] == ["1", "2"]
