"""The thread that relays an outbox: it starts, waits, has trouble, and ends."""

from __future__ import annotations

import collections.abc as cabc
import json
import subprocess
import sys
import threading
import typing as t
from pathlib import Path
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa
from support.databases import Database
from support.outboxes import opened
from support.outboxes import relay_of
from support.outboxes import Shop
from support.outboxes import shop as shop
from support.redises import Redis
from support.servers import gunicorn
from support.servers import serve
from support.servers import Server
from support.servers import until

from flask_push import NotPublished
from flask_push import Publisher
from flask_push._delivery import outbox_lease
from flask_push._system import unpatched
from flask_push._system.fork import run_in_child
from flask_push.sqlalchemy import _relaying
from flask_push.sqlalchemy._database import OutboxRows
from flask_push.sqlalchemy._relaying import Relay


@pytest.fixture
def one(sqlite: Database) -> cabc.Iterator[Shop]:
    with opened(sqlite.engine) as shop:
        yield shop


def say(shop: Shop, *texts: str) -> None:
    with shop.engine.begin() as connection:
        for text in texts:
            shop.outbox.publish(connection, "a", text)


def holds(shop: Shop) -> bool:
    return relay_of(shop)._turns.lease.holds


def test_a_commit_of_the_same_process_wakes_the_relay(
    one: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(one, "1")
    until(lambda: one.sent() == ["1"])
    # It would not look by itself.
    monkeypatch.setattr(_relaying, "_POLL_SECONDS", 1000.0)
    say(one, "2")
    until(lambda: one.sent() == ["1", "2"])
    say(one, "3")
    until(lambda: one.sent() == ["1", "2", "3"])


def test_rows_of_other_processes_are_found(shop: Shop) -> None:
    say(shop, "1")
    until(lambda: shop.sent() == ["1"])
    engine = sa.create_engine(shop.engine.url)
    with engine.begin() as connection:
        row = {"data": '{"channel":"a","data":"2"}'}
        connection.execute(sa.insert(shop.outbox.table), row)
    until(lambda: shop.sent() == ["1", "2"])
    engine.dispose()


def test_a_relay_ends_and_gives_back_the_lease(one: Shop) -> None:
    say(one, "1")
    until(lambda: one.sent() == ["1"])
    one.outbox.close()
    assert relay_of(one)._thread is None and not one.rows()
    assert repr(one.outbox) == (
        "<Outbox 'push_outbox' [does not hold the lease, 1 relayed]>"
    )
    say(one, "2")
    until(lambda: one.sent() == ["1", "2"])


def test_two_relays_share_a_store_and_one_takes_over(
    sqlite: Database, tmp_path: Path
) -> None:
    url = f"sqlite://{tmp_path}/push.db"
    with opened(sqlite.engine, url) as first:
        say(first, "1")
        until(lambda: first.sent() == ["1"])
        with opened(sa.create_engine(sqlite.url), url) as second:
            say(second, "2")
            until(lambda: second.sent() == ["1", "2"])
            assert holds(first) and not holds(second)
            first.outbox.close()
            say(second, "3")
            until(lambda: second.sent() == ["1", "2", "3"])
            assert holds(second)
        second.engine.dispose()


def test_the_lease_of_a_killed_process_is_taken(
    one: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_lease, "LOST_AFTER", 0.6)
    rows = OutboxRows(one.engine, one.outbox.table)
    # Another process, which is killed while it holds the lease.
    dead = Relay("push_outbox", rows, one.publisher, is_direct=True)
    assert dead._turns.turn() is False and dead._turns.lease.holds
    relay = Relay("push_outbox", rows, one.publisher, is_direct=True)
    with one.engine.begin() as connection:
        row = {"data": '{"channel":"a","data":"1"}'}
        connection.execute(sa.insert(one.outbox.table), row)
    relay.relay()
    assert one.sent() == ["1"]


def test_a_call_of_relay_gives_up_if_another_process_holds_the_lease_and_does_nothing(
    one: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_relaying, "_CALL_SECONDS", 0.3)
    rows = OutboxRows(one.engine, one.outbox.table)
    other = Relay("push_outbox", rows, one.publisher, is_direct=True)
    other._turns.turn()
    relay = Relay("push_outbox", rows, one.publisher, is_direct=True)
    relay.relay()
    with one.engine.begin() as connection:
        row = {"data": '{"channel":"a","data":"1"}'}
        connection.execute(sa.insert(one.outbox.table), row)
    with pytest.raises(NotPublished, match="Another process holds the lease"):
        relay.relay()
    relay.relay_quietly()
    assert "trouble: NotPublished" in repr(relay)


def test_trouble_with_the_table_is_logged_once_and_its_end_too(
    one: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    say(one, "1")
    until(lambda: one.sent() == ["1"])
    one.outbox.table.drop(one.engine)
    until(lambda: "no such table" in caplog.text)
    relay = relay_of(one)
    until(lambda: "trouble: OperationalError" in repr(one.outbox))
    until(lambda: relay._pause == 1.0)
    assert caplog.text.count("no such table: push_outbox") == 1
    assert "make it by a migration or by create_all" in caplog.text
    one.outbox.table.create(one.engine)
    say(one, "2")
    until(lambda: one.sent() == ["1", "2"])
    until(lambda: "is relayed again, after" in caplog.text)


def test_a_store_that_goes_away_keeps_rows_waiting(
    sqlite: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Redis.started(tmp_path) as redis, opened(sqlite.engine, redis.url) as shop:
        say(shop, "1")
        until(lambda: shop.sent() == ["1"])
        redis.kill()
        say(shop, "2")
        until(
            lambda: "Could not relay the outbox 'push_outbox' to the store" in caplog.text
        )
        assert len(shop.rows()) == 1
        redis.start()
        until(lambda: shop.sent()[-1:] == ["2"])
        until(lambda: "is relayed again" in caplog.text)


def test_a_database_that_goes_away_is_found_again(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    if database.server is None:
        pytest.skip("SQLite has no server.")
    with opened(database.engine) as shop:
        say(shop, "1")
        until(lambda: shop.sent() == ["1"])
        database.server.kill()
        until(lambda: "trouble" in repr(shop.outbox))
        database.server.start()
        until(lambda: "trouble" not in repr(shop.outbox), 40)
        say(shop, "2")
        until(lambda: shop.sent() == ["1", "2"])
        assert caplog.text.count("Could not read the table of the outbox") == 1


def test_a_process_that_is_forked_relays_with_connections_of_its_own(
    one: Shop, tmp_path: Path
) -> None:
    path = f"sqlite://{tmp_path}/push.db"
    with opened(sa.create_engine(one.engine.url), path, name="forks") as shop:
        say(shop, "1")
        until(lambda: shop.sent() == ["1"])
        name, pool = relay_of(shop)._turns.lease.name, shop.engine.pool

        def child() -> bool:
            relay = relay_of(shop)
            assert relay._thread is None and relay._turns.lease.name != name
            assert shop.engine.pool is not pool
            say(shop, "2")
            # The parent holds the lease.
            until(lambda: shop.sent() == ["1", "2"])
            shop.outbox.close()
            return True

        assert run_in_child(child)
        assert holds(shop)
        say(shop, "3")
        until(lambda: shop.sent() == ["1", "2", "3"])
    shop.engine.dispose()


def test_a_fork_waits_until_the_relay_does_not_use_the_database(one: Shop) -> None:
    # SQLite notes in memory what a process has locked. So in a child that was forked
    # meanwhile, the database would stay locked.
    say(one, "1")
    until(lambda: one.sent() == ["1"] and not one.rows())
    deleting, goes_on = threading.Event(), threading.Event()

    @sa.event.listens_for(one.engine, "after_cursor_execute")
    def stand_still(*args: t.Any) -> None:
        if args[2].startswith("DELETE"):
            deleting.set()
            goes_on.wait()

    say(one, "2")
    deleting.wait()
    timer = threading.Timer(0.2, goes_on.set)
    timer.start()

    def child() -> bool:
        say(one, "3")
        return True

    assert run_in_child(child)
    timer.join()
    until(lambda: one.sent() == ["1", "2", "3"])


def test_where_no_thread_can_run_the_log_names_the_command(
    one: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(unpatched, "unfit", lambda: "uWSGI runs no threads")
    say(one, "1")
    assert "uWSGI runs no threads. Run 'flask push relay'" in caplog.text
    assert relay_of(one)._thread is None


def test_writers_of_a_sqlite_database_are_not_refused(one: Shop) -> None:
    engine = sa.create_engine(one.engine.url, connect_args={"timeout": 5})
    for n in range(200):
        with engine.begin() as connection:
            connection.execute(sa.insert(one.orders), {"text": str(n)})
            one.outbox.publish(connection, "a", str(n))
    until(lambda: len(one.sent()) == 200)
    assert one.sent() == [str(n) for n in range(200)]
    engine.dispose()


def test_a_relay_goes_on_after_a_long_transaction_of_the_app(one: Shop) -> None:
    say(one, "1")
    until(lambda: one.sent() == ["1"] and not one.rows())
    looks: list[str] = []

    @sa.event.listens_for(one.engine, "after_cursor_execute")
    def look(*args: t.Any) -> None:
        looks.append(threading.current_thread().name)

    with one.engine.connect() as connection:
        connection.execute(sa.insert(one.orders), {"text": "x"})
        until(lambda: looks.count("flask-push-outbox") >= 5, what="the relay has looked")
        connection.commit()
    say(one, "2")
    until(lambda: one.sent() == ["1", "2"])


# On servers.


@pytest.fixture(params=["sync", "gthread", "gevent"])
def server(
    request: pytest.FixtureRequest, postgresql: Database, tmp_path: Path
) -> cabc.Iterator[Server]:
    env = {"DATABASE": postgresql.url}
    more = ["-k", request.param, "-w", "2"]
    with serve(gunicorn, tmp_path, *more, app="apps.outbox", env=env) as server:
        yield server


def order(server: Server, *data: str) -> None:
    body = urlencode([("data", text) for text in data]).encode()
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    status, _, _ = server.request("POST", "/order", body, **kind)
    assert status == 200, server.log


def test_workers_relay_for_each_other(server: Server) -> None:
    expected = []
    for n in range(30):
        order(server, str(n), f"{n}b")
        expected += [str(n), f"{n}b"]
    until(lambda: json.loads(server.get("/sent")) == expected, 30)
    reader = server.open_stream("a")
    order(server, "live")
    assert reader.read_data(1) == ["live"]
    reader.close()
    assert server.stop() < 10
    assert "Traceback" not in server.log


@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_workers_of_an_app_that_was_in_use_before_they_were_forked(
    kind: str, postgresql: Database, tmp_path: Path
) -> None:
    """The master relays already, with connections that no worker may use."""
    env = {"DATABASE": postgresql.url, "EARLY": "1"}
    more = ["-k", kind, "-w", "2", "--preload"]
    with serve(gunicorn, tmp_path, *more, app="apps.outbox", env=env) as server:
        for n in range(20):
            order(server, str(n))
        status, _, body = server.request("POST", "/fork")
        assert (status, body) == (200, b"0"), server.log
        expected = ["early", *(str(n) for n in range(20)), "forked"]
        until(lambda: json.loads(server.get("/sent")) == expected, 30)
        assert server.stop() < 10
        assert "Traceback" not in server.log


def test_the_end_of_a_process_gives_back_the_lease(tmp_path: Path) -> None:
    code = (
        "import sys, time, sqlalchemy as sa\n"
        "from flask_push import Publisher\n"
        "from flask_push.sqlalchemy import Outbox\n"
        "engine = sa.create_engine(sys.argv[1])\n"
        "outbox = Outbox(Publisher(sys.argv[2]), sa.MetaData(), engine=engine)\n"
        "outbox.table.metadata.create_all(engine)\n"
        "with engine.begin() as connection:\n"
        "    outbox.publish(connection, 'a', 'x')\n"
        "while not outbox._push.history('a', 1).events: time.sleep(0.01)\n"
    )
    database, store = f"sqlite:///{tmp_path}/app.db", f"sqlite://{tmp_path}/push.db"
    for n in range(1, 4):
        subprocess.run([sys.executable, "-c", code, database, store], check=True)
        publisher = Publisher(store)
        (row,) = publisher._keeper().read_items(["push_outbox"], kind="outbox").rows
        values = json.loads(row.data)
        assert (values["holder"], values["rows"], values["batch"]) == ("", [], n)
        publisher.close()


def test_the_trouble_of_a_relay_is_shown_on_one_line(one: Shop) -> None:
    relay = relay_of(one)
    relay._note(NotPublished("It is full.\nDETAIL: of what"))
    assert repr(relay).endswith(", trouble: NotPublished: It is full.]>")
