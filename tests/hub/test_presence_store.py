"""What a hub plans for presence is carried out in each store."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import typing as t

import pytest
from support.each_store import url as url

from flask_push import NotPublished
from flask_push._delivery.presence_plan import Change
from flask_push._delivery.presence_plan import Failure
from flask_push._delivery.presence_plan import fence
from flask_push._delivery.presence_plan import Found
from flask_push._delivery.presence_plan import HUBS
from flask_push._delivery.presence_plan import Plan
from flask_push._delivery.presence_plan import Step
from flask_push._delivery.roster import PRESENT
from flask_push._hub.presence_store import changes
from flask_push._hub.presence_store import failure
from flask_push._hub.presence_store import read
from flask_push.brokers import Conflict
from flask_push.brokers import NotRead
from flask_push.brokers import open_broker
from flask_push.brokers import PublishUncertain


@pytest.fixture
def broker(url: str) -> cabc.Iterator[t.Any]:
    with contextlib.closing(open_broker(url)) as broker:
        yield broker


def user(name: str, hub: str = "h") -> Change:
    return Change(PRESENT, "a", f"{hub}.{name}", "1", owner=hub)


def record(data: str = "{}", **more: t.Any) -> Change:
    return Change(HUBS, HUBS, "h", data, version=1, **more)


def test_records_and_rows_are_read_as_planned(broker: t.Any) -> None:
    stored = [record(), user("u"), user("v"), user("w", "g")]
    broker.change(changes(Plan(Step.BEAT, 0, stored)))
    assert read(Plan(Step.USERS, 0), broker) == Found()
    found = read(Plan(Step.BEAT, 0, records=True), broker)
    assert found.epoch and [row.item for row in found.records] == ["h"]
    (row,) = found.records
    assert (row.data, row.version) == (b"{}", 1) and not found.rows
    found = read(Plan(Step.ROWS, 0, owner="h"), broker)
    assert [row.item for row in found.rows] == ["h.u", "h.v"] and not found.records
    found = read(Plan(Step.FIND, 0, owner="g"), broker)
    assert [row.item for row in found.rows] == ["g.w"]


def test_many_records_are_read_page_by_page(broker: t.Any) -> None:
    data = '{"x":"%s"}' % ("x" * 90_000)
    many = [Change(HUBS, HUBS, f"h{n}", data, version=1) for n in range(20)]
    broker.change(changes(Plan(Step.BEAT, 0, many)))
    found = read(Plan(Step.LOOK, 0, records=True), broker)
    assert [row.item for row in found.records] == [change.item for change in many]


def test_a_plan_is_stored_only_if_the_record_is_the_expected_one(broker: t.Any) -> None:
    (id,) = broker.change(changes(Plan(Step.BEAT, 0, [record(expect="")])))
    plan = Plan(Step.USERS, 0, [fence("h", str(id)), user("u")])
    first, second = broker.change(changes(plan))
    assert first == id and second.number > id.number
    broker.change(
        changes(Plan(Step.BEAT, 0, [record("[]", expect=str(id))._replace(version=2)]))
    )
    with pytest.raises(Conflict):
        broker.change(changes(plan))


def test_errors_of_the_store_are_told_apart() -> None:
    assert failure(None) is None
    assert failure(Conflict("x")) is Failure.CONFLICT
    assert failure(PublishUncertain("x")) is Failure.UNCERTAIN
    for error in (NotPublished("x"), NotRead("x"), RuntimeError("x")):
        assert failure(error) is Failure.FAILED
