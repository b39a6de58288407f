"""Whatever sessions do, and in whatever order: what is sent is what is committed."""

from __future__ import annotations

import typing as t
import warnings

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import Engine
from sqlalchemy.exc import SAWarning
from support.databases import Database
from support.session_machine import JoinedMachine
from support.session_machine import SessionMachine
from support.sessions import Base
from support.sessions import Child
from support.sessions import engine as engine


def run(machine: type[t.Any], on: Engine, examples: int) -> None:
    kind = type(machine.__name__, (machine,), {"engine": on})
    options = settings(
        max_examples=examples,
        stateful_step_count=30,
        deadline=None,
        report_multiple_bugs=False,
    )
    with warnings.catch_warnings():
        # Of what a program does in a wrong order, which this one does.
        warnings.simplefilter("ignore", SAWarning)
        run_state_machine_as_test(kind, settings=options)


@pytest.mark.timeout(600)
def test_two_sessions_in_any_order_on_postgresql(postgresql: Database) -> None:
    Base.metadata.create_all(postgresql.engine)
    run(SessionMachine, postgresql.engine, 30)


@pytest.mark.timeout(600)
def test_two_sessions_in_any_order_on_mariadb(
    mariadb: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It has no constraints that wait for the commit.
    for foreign_key in [*Child.__table__.foreign_keys]:
        monkeypatch.setattr(foreign_key.constraint, "deferrable", None)
        monkeypatch.setattr(foreign_key.constraint, "initially", None)
    Base.metadata.create_all(mariadb.engine)
    run(SessionMachine, mariadb.engine, 30)


@pytest.mark.timeout(600)
def test_two_sessions_in_any_order_on_sqlite(engine: Engine) -> None:
    run(SessionMachine, engine, 100)


@pytest.mark.timeout(600)
def test_sessions_that_join_a_connection_in_any_order_on_sqlite(engine: Engine) -> None:
    run(JoinedMachine, engine, 100)


@pytest.mark.timeout(600)
def test_sessions_that_join_a_connection_in_any_order_on_postgresql(
    postgresql: Database,
) -> None:
    Base.metadata.create_all(postgresql.engine)
    run(JoinedMachine, postgresql.engine, 40)
