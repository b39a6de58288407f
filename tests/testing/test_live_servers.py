"""A test and the server that it starts share one store, as the page about tests says."""

from __future__ import annotations

from pathlib import Path

from support.apps import make_app
from support.servers import flask_run
from support.servers import serve

from flask_push import connect
from flask_push import Push
from flask_push.testing import captured


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
