"""Carries out what a hub plans for presence, in the store. Any thread."""

from __future__ import annotations

from .._delivery.presence_plan import Failure
from .._delivery.presence_plan import Found
from .._delivery.presence_plan import HUBS
from .._delivery.presence_plan import MAX_CHANGES
from .._delivery.presence_plan import Plan
from .._delivery.presence_plan import Step
from .._delivery.roster import PRESENT
from ..brokers import Conflict
from ..brokers import ItemChange
from ..brokers import ItemRow
from ..brokers import KeepsItems
from ..brokers import PublishUncertain

# So many rows of a dead hub are unset together, beside the changes of two records.
_MAX_SWEPT = MAX_CHANGES - 2
# More rows than a hub can have.
_ALL = 10**7


def read(plan: Plan, broker: KeepsItems) -> Found:
    """What the plan needs to know.

    :raises NotRead: If the store can't be read now.
    """
    found = Found()
    if plan.records:
        found = _records(broker)
    if plan.step in (Step.ROWS, Step.FIND):
        limit = _ALL if plan.step is Step.ROWS else _MAX_SWEPT
        found = found._replace(rows=broker.owned(plan.owner, kind=PRESENT, limit=limit))
    return found


def _records(broker: KeepsItems) -> Found:
    rows: list[ItemRow] = []
    after = 0
    while True:
        page = broker.read_items([HUBS], after=after, kind=HUBS)
        rows += page.rows
        if page.reach >= page.end:
            return Found(page.epoch, rows)
        after = page.reach


def changes(plan: Plan) -> list[ItemChange]:
    """What the plan stores."""
    return [
        ItemChange(
            *(change.channel, change.item, change.data),
            kind=change.kind,
            owner=change.owner,
            version=change.version,
            expect=change.expect,
        )
        for change in plan.changes
    ]


def failure(error: Exception | None) -> Failure | None:
    """What an error of the store means for a plan."""
    if error is None:
        return None
    if isinstance(error, Conflict):
        return Failure.CONFLICT
    if isinstance(error, PublishUncertain):
        return Failure.UNCERTAIN
    return Failure.FAILED
