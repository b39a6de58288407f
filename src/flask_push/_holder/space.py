"""Space for a run whose channel is full."""

from __future__ import annotations

import contextlib

from .._delivery.run_record import Record
from .._delivery.run_rows import KEYS
from .._delivery.run_rows import RUN
from .._delivery.run_size import older
from ..brokers import ItemsFull
from ..brokers import KeepsRuns
from ..brokers import NotPublished
from ..brokers import PublishUncertain
from ..brokers.base import TROUBLE
from ..brokers.due_items import unset_due

# Bytes of the keys of older runs that a channel keeps in any case.
_KEYS_BYTES = 2**20


def forget_older(broker: KeepsRuns, channel: str, record: Record) -> None:
    """Forget rows of runs that the record no longer has. If this fails, the next run of the
    channel does it."""
    if len(record.past) > 1:
        with contextlib.suppress(NotPublished, PublishUncertain):
            broker.forget(channel, record.past[-1].first, kind=RUN)


def make_space(broker: KeepsRuns, channel: str, record: Record, full: ItemsFull) -> bool:
    """Forget what the run of a record does not need: older runs of its channel; most of
    their keys, if there are very many; and items of its list whose time is over.

    :param record: One that is stored, or that could not be.
    :return: Whether there was something of that.
    :raises ItemsFull: If the store is in trouble.
    """
    try:
        found = _forget(broker, channel, older(record))
        page = broker.read_items([channel], limit=_KEYS_BYTES, kind=KEYS)
        if page.reach < page.end:
            found = _forget(broker, channel, page.reach, KEYS)
        if record.listed:
            with contextlib.suppress(ItemsFull):
                unset_due(broker, [record.listed], full)
                found = True
    except TROUBLE as error:
        raise full from error
    return found


def _forget(broker: KeepsRuns, channel: str, upto: int, kind: str = RUN) -> bool:
    if not broker.read_items([channel], upto=upto, limit=1, kind=kind).rows:
        return False
    while broker.forget(channel, upto, kind=kind):
        pass
    return True
