"""What the log says of rows of an outbox that wait for long."""

from __future__ import annotations

import logging

import pytest
import sqlalchemy as sa
from support.outboxes import direct as direct
from support.outboxes import Shop

from flask_push.sqlalchemy import _backlog
from flask_push.sqlalchemy._database import OutboxRows
from flask_push.sqlalchemy._turns import RelayTurns


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    caplog.clear()
    return found


def test_rows_that_the_process_with_the_lease_leaves_are_said_to_wait(
    direct: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_backlog, "_SECONDS", 0.0)
    # The relay of another app, which has an outbox of the same name in its own database.
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    direct.outbox.table.metadata.create_all(engine)
    theirs = RelayTurns(
        "push_outbox", OutboxRows(engine, direct.outbox.table), direct.publisher
    )
    theirs.turn()
    assert theirs.lease.holds
    ours = OutboxRows(direct.engine, direct.outbox.table)
    turns = RelayTurns("push_outbox", ours, direct.publisher)
    turns.turn()
    turns.turn()
    assert lines(caplog) == []
    with direct.engine.begin() as connection:
        connection.execute(sa.insert(direct.outbox.table), [{"data": "1"}, {"data": "2"}])
    turns.turn()
    assert lines(caplog) == []
    turns.turn()
    (line,) = lines(caplog)
    assert line.startswith("The row 1 of the outbox 'push_outbox' waits")
    assert "give each outbox a name of its own" in line
    # The other process is slow, and not away.
    ours.refuse(1, "gone")
    turns.turn()
    assert lines(caplog) == []
    turns.turn()
    assert len(lines(caplog)) == 1
    engine.dispose()
