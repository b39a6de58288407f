"""What waits for the commit of a session is sent if, and only if, it commits."""

from __future__ import annotations

import subprocess
import sys

import pytest
from sqlalchemy import Engine
from sqlalchemy import event
from sqlalchemy.orm import Session
from support.sessions import engine as engine
from support.sessions import publisher as publisher
from support.sessions import Row
from support.sessions import sent
from support.sessions import session as session

from flask_push import Publisher


def test_a_commit_sends_in_the_order_of_the_calls(
    session: Session, publisher: Publisher
) -> None:
    later = publisher.after(session)
    for text in "1", "2", "3":
        session.add(Row(text=text))
        later.publish("a", text)
    assert sent(publisher) == []
    session.commit()
    assert sent(publisher) == ["1", "2", "3"]


def test_a_rollback_drops_and_leaves_nothing_for_the_next_transaction(
    session: Session, publisher: Publisher
) -> None:
    later = publisher.after(session)
    later.publish("a", "dropped")
    session.rollback()
    session.commit()
    later.publish("a", "sent")
    session.commit()
    session.commit()
    assert sent(publisher) == ["sent"]


def test_the_rollback_of_a_savepoint_drops_what_was_given_within_it(
    session: Session, publisher: Publisher
) -> None:
    later = publisher.after(session)
    later.publish("a", "1")
    with session.begin_nested():
        later.publish("a", "2")
    with pytest.raises(ZeroDivisionError), session.begin_nested():
        with session.begin_nested():
            later.publish("a", "no")
        raise ZeroDivisionError
    later.publish("a", "3")
    session.commit()
    assert sent(publisher) == ["1", "2", "3"]


@pytest.mark.parametrize("before", [[], ["first"]])
def test_a_listener_of_the_app_may_publish_when_it_is_called_after_the_commit(
    session: Session, publisher: Publisher, before: list[str]
) -> None:
    @event.listens_for(session, "after_commit")
    def after_commit(_: Session) -> None:
        publisher.after(session).publish("a", "heard")

    for text in before:
        publisher.after(session).publish("a", text)
    session.add(Row(text="x"))
    session.commit()
    assert sent(publisher) == [*before, "heard"]


def test_what_a_listener_publishes_after_a_savepoint_belongs_to_the_transaction_around_it(
    session: Session, publisher: Publisher
) -> None:
    @event.listens_for(session, "after_commit")
    def after_commit(_: Session) -> None:
        if session.in_nested_transaction():
            publisher.after(session).publish("a", "heard")

    with session.begin_nested():
        publisher.after(session).publish("a", "in it")
    session.rollback()
    assert sent(publisher) == []
    with session.begin_nested():
        publisher.after(session).publish("a", "in it")
    session.commit()
    assert sent(publisher) == ["in it", "heard"]


def test_what_a_listener_publishes_waits_for_the_transaction_that_the_session_has_joined(
    engine: Engine, publisher: Publisher
) -> None:
    with engine.connect() as connection, connection.begin() as transaction:
        with Session(connection) as session:

            @event.listens_for(session, "after_commit")
            def after_commit(_: Session) -> None:
                publisher.after(session).publish("a", "heard")

            session.add(Row(text="x"))
            session.commit()
        assert sent(publisher) == []
        transaction.commit()
    assert sent(publisher) == ["heard"]


def test_closing_a_session_drops(engine: Engine, publisher: Publisher) -> None:
    with Session(engine) as session:
        publisher.after(session).publish("a", "1")
    session.commit()
    assert sent(publisher) == []


def test_what_is_no_session_is_refused(publisher: Publisher, engine: Engine) -> None:
    with pytest.raises(TypeError, match="db.session.*push.held"):
        publisher.after(engine)


def test_a_listener_of_the_app_that_raises_first_keeps_nothing_from_being_sent() -> None:
    """It was there before `after` was called for the first time."""
    code = """if True:
        from sqlalchemy import create_engine, event
        from sqlalchemy.orm import Session
        from flask_push import Publisher

        def fail(session):
            raise ZeroDivisionError

        event.listen(Session, "after_commit", fail)
        publisher = Publisher("memory:")
        with Session(create_engine("sqlite://")) as session:
            publisher.after(session).publish("a", "1")
            try:
                session.commit()
            except ZeroDivisionError:
                pass
        print([event.data for event in publisher.history("a", 9).events])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "['1']\n", done.stderr
