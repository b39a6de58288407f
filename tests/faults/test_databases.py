"""The databases of the tests: what they have committed survives a kill."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from support.databases import Database


def test_a_database_is_empty_and_keeps_what_is_committed(database: Database) -> None:
    assert sa.inspect(database.engine).get_table_names() == []
    with database.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE a (n INTEGER)")
        connection.exec_driver_sql("INSERT INTO a VALUES (1)")
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT n FROM a").scalar() == 1


@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_a_server_that_was_killed_has_what_it_committed(
    name: str, request: pytest.FixtureRequest
) -> None:
    database: Database = request.getfixturevalue(name)
    assert database.server is not None
    with database.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE a (n INTEGER PRIMARY KEY)")
    for n in range(3):
        with database.engine.begin() as connection:
            connection.exec_driver_sql(f"INSERT INTO a VALUES ({n})")
            # One that is not committed is not there afterwards.
            lost = database.engine.connect()
            lost.exec_driver_sql(f"INSERT INTO a VALUES ({n + 10})")
        database.server.kill()
        with pytest.raises(sa.exc.DBAPIError):
            lost.commit()
        lost.invalidate()
        database.engine.dispose()
        database.server.start()
        with database.engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT n FROM a ORDER BY n").scalars()
            assert list(rows) == list(range(n + 1))


@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_a_stopped_server_goes_on(name: str, request: pytest.FixtureRequest) -> None:
    database: Database = request.getfixturevalue(name)
    assert database.server is not None
    database.server.stop()
    database.server.go_on()
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
