"""A commit stands, whatever happens when its changes are sent. No loss is silent."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import gc
import logging
import signal
import typing as t
from pathlib import Path

import pytest
import sqlalchemy as sa
from celery.exceptions import SoftTimeLimitExceeded
from flask import Flask
from gevent import Timeout
from rq.timeouts import JobTimeoutException
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from support.redises import Redis
from support.servers import until
from support.sessions import engine as engine
from support.sessions import Row
from support.sessions import sent
from support.sessions import session as session
from support.sqlite_files import locked

from flask_push import Held
from flask_push import ItemsFull
from flask_push import NotPublished
from flask_push import Publisher
from flask_push import PublishUncertain
from flask_push import Push
from flask_push.brokers import DISCONNECT_LOG
from flask_push.brokers import Retention
from flask_push.brokers.memory import MemoryBroker

Told = list[tuple[Exception, Held]]


def commit(session: Session, publisher: Publisher, *texts: str) -> None:
    """Which must not raise."""
    for text in texts:
        session.add(Row(text=text))
        publisher.after(session).publish("a", text)
    session.commit()


def rows(session: Session) -> cabc.Sequence[str]:
    found = session.scalars(sa.select(Row.text).order_by(Row.id)).all()
    session.rollback()
    return found


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    ours = [record for record in caplog.records if record.name == "flask_push"]
    return [record.getMessage() for record in ours if record.levelno == logging.ERROR]


@contextlib.contextmanager
def in_trouble(store: str, directory: Path) -> cabc.Iterator[tuple[str, t.Any, t.Any]]:
    """The address of a store, how to make it fail, and how to mend it."""
    if store == "redis":
        with Redis.started(directory) as redis:
            yield redis.url, redis.kill, redis.start
    else:
        path = directory / "push.db"
        stack = contextlib.ExitStack()
        yield f"sqlite://{path}", lambda: stack.enter_context(locked(path)), stack.close


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_what_a_store_in_trouble_did_not_take_can_be_sent_later(
    session: Session, store: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: Told = []
    with in_trouble(store, tmp_path) as (url, fail, mend):
        publisher = Publisher(
            url, timeout=0.2, after_commit_error=lambda *args: told.append(args)
        )
        commit(session, publisher, "1")
        fail()
        commit(session, publisher, "2", "3")
        (error, later) = told[0]
        assert isinstance(error, NotPublished | PublishUncertain)
        assert rows(session) == ["1", "2", "3"]
        assert publisher.unsent == 2 and repr(later) == "<Held [2 changes]>"
        (line,) = lines(caplog)
        assert line.startswith(
            "Could not send 2 changes on 1 channels, whose transaction has committed; set"
            f" PUSH_AFTER_COMMIT_ERROR to send them later: {type(error).__name__}: "
        )
        with pytest.raises((NotPublished, PublishUncertain)):
            later.send()
        assert repr(later) == "<Held [2 changes]>"
        mend()

        def goes() -> bool:
            with contextlib.suppress(NotPublished):
                later.send()
                return True
            return False

        until(goes)
        assert repr(later) == "<Held [0 changes]>" and later.send() == ""
        commit(session, publisher, "4")
        # A Redis that was killed has forgotten.
        assert sent(publisher)[-3:] == ["2", "3", "4"]
        assert publisher.unsent == 2 and len(told) == 1
        publisher.close()


def test_a_part_that_is_refused_stops_no_other_part(
    session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    told: Told = []
    broker = MemoryBroker(Retention(items=1))
    publisher = Publisher(broker, after_commit_error=lambda *args: told.append(args))
    later = publisher.after(session)
    later.publish("b", "1")
    later.set("a", "i", 1)
    later.set("a", "j", 2)
    later.disconnect(user=7)
    later.publish("a", "after")
    session.commit()
    assert [entry.data for entry in broker.read_own(DISCONNECT_LOG).entries] == [
        b'{"user":"7"}'
    ]
    assert sent(publisher) == ["after"] and sent(publisher, "b") == []
    ((error, rest),) = told
    assert isinstance(error, ItemsFull) and publisher.unsent == 3
    assert "3 changes on 2 channels" in lines(caplog)[0]
    publisher.set("a", "j", 0)
    with pytest.raises(ItemsFull):
        rest.send()
    publisher.unset("a", "i", "j")
    with pytest.raises(ItemsFull):
        rest.send()


def test_what_the_function_for_errors_raises_is_logged(
    session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(error: Exception, later: Held) -> None:
        raise ZeroDivisionError

    publisher = Publisher(MemoryBroker(Retention(items=1)), after_commit_error=fail)
    later = publisher.after(session)
    later.publish_many([])
    for item in "ij":
        later.set("a", item, 1)
    session.commit()
    assert lines(caplog)[1].startswith("PUSH_AFTER_COMMIT_ERROR raised an exception")
    assert caplog.records[-1].exc_info


def test_an_app_counts_and_shows_what_was_not_sent(
    session: Session, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: Told = []
    app = Flask("app", instance_path=str(tmp_path))
    app.config.update(
        PUSH_BROKER_URL="memory:",
        PUSH_HUB="thread",
        PUSH_MAX_ITEMS=1,
        PUSH_AFTER_COMMIT_ERROR=lambda *args: told.append(args),
    )
    push = Push(app)
    assert push.unsent == 0
    for item in "ij":
        push.after(session).set("a", item, 1)
    assert repr(push) == "<Push ['app']>"
    session.commit()
    assert repr(push) == "<Push ['app'], 2 unsent>" and push.unsent == 2
    assert isinstance(told[0][0], ItemsFull)
    push._services().close()


def test_two_publishers_fail_apart(
    session: Session, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    busy = Publisher(f"sqlite://{tmp_path}/push.db", timeout=0.1)
    other = Publisher("memory:")
    busy.publish("a", "0")
    busy.after(session).publish("a", "1")
    other.after(session).publish("a", "1")
    with locked(tmp_path / "push.db"):
        session.commit()
    assert sent(other) == ["1"] and (busy.unsent, other.unsent) == (1, 0)
    busy.close()


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), Timeout(), SoftTimeLimitExceeded(), JobTimeoutException()],
    ids=lambda error: type(error).__name__,
)
def test_an_interruption_is_raised_and_what_was_not_sent_is_logged(
    session: Session,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    """As a signal raises it, while a store is waited for."""
    first, last = Publisher("memory:"), Publisher("memory:")
    publisher = Publisher(f"sqlite://{tmp_path}/push.db", timeout=60)
    publisher.publish("a", "0")

    def interrupt(*args: object) -> None:
        raise error

    before = signal.signal(signal.SIGALRM, interrupt)
    first.after(session).publish("a", "1")
    for text in "1", "2":
        session.add(Row(text=text))
        publisher.after(session).publish("a", text)
    publisher.after(session).disconnect(user=7)
    last.after(session).publish("a", "1")
    try:
        with locked(tmp_path / "push.db"), pytest.raises(type(error)):
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            session.commit()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert rows(session) == ["1", "2"]
    assert (first.unsent, publisher.unsent, last.unsent) == (0, 3, 1)
    assert len(lines(caplog)) == 2 and type(error).__name__ in lines(caplog)[0]
    commit(session, publisher, "3")
    assert sent(publisher) == ["0", "3"] and sent(last) == []
    publisher.close()


def test_changes_whose_end_sqlalchemy_never_told_are_sent_with_the_next(
    engine: Engine,
) -> None:
    """An exception while a connection goes back to its pool, after the commit."""
    publisher = Publisher("memory:")
    with Session(engine) as session:
        commit(session, publisher, "1")

        def interrupt(connection: object, record: object, state: object) -> None:
            raise KeyboardInterrupt

        sa.event.listen(engine, "reset", interrupt, once=True)
        with pytest.raises(KeyboardInterrupt):
            commit(session, publisher, "2")
        assert sent(publisher) == ["1"]
        commit(session, publisher, "3")
        assert rows(session) == ["1", "2", "3"]
    assert sent(publisher) == ["1", "2", "3"]


def test_changes_of_a_session_that_is_never_used_again_are_logged(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    # Its line would have a traceback with the session.
    caplog.set_level(logging.CRITICAL, "sqlalchemy.pool")
    caplog.handler.setLevel(logging.ERROR)
    publisher = Publisher("memory:")

    def interrupt(connection: object, record: object, state: object) -> None:
        raise KeyboardInterrupt

    def work() -> None:
        session = Session(engine)
        commit(session, publisher, "1")
        sa.event.listen(engine, "reset", interrupt, once=True)
        with contextlib.suppress(KeyboardInterrupt):
            commit(session, publisher, "2", "3")
        assert lines(caplog) == []

    work()
    gc.collect()
    (line,) = lines(caplog)
    assert line.startswith("Could not send 2 changes on 1 channels")
    assert line.endswith("the session was not used again") and publisher.unsent == 2
