"""Each process of an app has one relay for each of its outboxes."""

from __future__ import annotations

import collections.abc as cabc
from pathlib import Path

import pytest
import sqlalchemy as sa
from support.apps import make_app
from support.servers import until

from flask_push import Push
from flask_push.sqlalchemy import Outbox


@pytest.fixture
def engine(tmp_path: Path) -> cabc.Iterator[sa.Engine]:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/app.db")
    yield engine
    engine.dispose()


def outbox_of(push: Push, engine: sa.Engine, name: str = "push_outbox") -> Outbox:
    outbox = Outbox(push, sa.MetaData(), engine=engine, name=name)
    outbox.table.metadata.create_all(engine)
    return outbox


def say(outbox: Outbox, engine: sa.Engine, text: str) -> None:
    with engine.begin() as connection:
        outbox.publish(connection, "a", text)


def sent(push: Push) -> list[str]:
    return [event.data for event in push.history("a", 100).events]


def test_two_outboxes_have_relays_and_leases_of_their_own(engine: sa.Engine) -> None:
    push = Push()
    first = outbox_of(push, engine)
    app = make_app(push, TESTING=False, PUSH_BROKER_URL="memory:")
    say(first, engine, "1")
    until(lambda: sent(push) == ["1"])
    # One that is made later is found within a second.
    second = outbox_of(push, engine, "second")
    until(lambda: sent(push) and second._relays)
    say(second, engine, "2")
    until(lambda: sent(push) == ["1", "2"])
    services = push._states[app].services()
    assert len(services.outboxes.open(app, push._outboxes)) == 2
    holders = {relay._turns.lease.name for box in (first, second) for relay in box._relays}
    assert len(holders) == 2
    services.close()
    until(lambda: not any(r._thread for box in (first, second) for r in box._relays))


def test_no_thread_runs_if_the_configuration_says_so(engine: sa.Engine) -> None:
    push = Push()
    outbox = outbox_of(push, engine)
    memory = "memory:"
    app = make_app(push, TESTING=False, PUSH_OUTBOX_THREAD=False, PUSH_BROKER_URL=memory)
    say(outbox, engine, "1")
    (relay,) = outbox._relays
    assert relay._thread is None and sent(push) == []
    outbox.relay()
    assert sent(push) == ["1"]
    push._states[app].services().close()


def test_an_app_that_is_tested_has_no_thread(engine: sa.Engine) -> None:
    push = Push()
    outbox = outbox_of(push, engine)
    app = make_app(push)
    say(outbox, engine, "1")
    (relay,) = outbox._relays
    assert relay.is_direct and relay._thread is None
    with sa.orm.Session(engine) as session:
        outbox.publish(session, "a", "2")
        session.commit()
    assert sent(push) == ["1", "2"]
    push._states[app].services().close()
