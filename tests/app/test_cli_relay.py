"""The command ``flask push relay``."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import sqlalchemy as sa
from support.commands import failed
from support.commands import flask
from support.commands import Run
from support.commands import run as run
from support.servers import program
from support.servers import TESTS
from support.servers import until

from flask_push import Publisher
from flask_push.sqlalchemy._table import outbox_table


def test_an_app_without_an_outbox_has_nothing_to_relay(run: Run) -> None:
    assert "This app has no outbox" in failed(run("relay"))


def test_a_store_of_one_process_can_not_be_relayed_to(run: Run) -> None:
    assert "no stream would receive the events" in failed(
        run("relay", PUSH_BROKER_URL="memory:")
    )


def test_it_relays_until_a_signal_ends_it_and_gives_back_the_lease(tmp_path: Path) -> None:
    database, store = f"sqlite:///{tmp_path}/app.db", f"sqlite://{tmp_path}/push.db"
    env = {
        **os.environ,
        **{"INSTANCE": str(tmp_path), "DATABASE": database},
        "FLASK_PUSH_BROKER_URL": store,
    }
    command = flask("--app", "apps.outbox", "push", "relay")
    options = {"stderr": subprocess.PIPE, "cwd": TESTS, "env": env}
    with program(command, **options) as process:
        assert process.stderr is not None and process.stdout is not None
        said = b""
        while b"Took the lease" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        engine = sa.create_engine(database)
        with engine.begin() as connection:
            rows = [{"data": f'{{"channel":"a","data":"{n}"}}'} for n in range(700)]
            connection.execute(sa.insert(outbox_table("push_outbox", sa.MetaData())), rows)
        publisher = Publisher(store)
        until(lambda: len(publisher.history("a", 1000).events) == 700)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert b"Gave back the lease" in process.stderr.read()
        assert b"Relayed 700 rows in all." in process.stdout.read()
        (row,) = publisher._keeper().read_items(["push_outbox"], kind="outbox").rows
        assert b'"holder":""' in row.data
        publisher.close()
        engine.dispose()
