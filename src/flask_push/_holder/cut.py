"""Forget the beginning of a run that is too large, while it is still written."""

from __future__ import annotations

from .._delivery.run_holder import Holder
from .._delivery.run_rows import Change
from .._delivery.run_rows import RUN
from .._delivery.run_size import renew
from .._delivery.run_size import RunSize
from .._event import Position
from .._system.logs import QuietLogger
from ..brokers import NotPublished
from ..brokers import PublishUncertain
from .store import RunStore

_quiet = QuietLogger()


class RunCut:
    """Knows how large a run is.

    :param most: ``PUSH_MAX_RUN_BYTES``.
    """

    def __init__(self, most: int) -> None:
        self._most, self._size = most, RunSize(most)
        # The id of the last row that has to be forgotten. Empty if none has to.
        self._upto = ""

    def add(self, row: Change, id: str) -> None:
        """A row was stored."""
        self._upto = self._size.add(row, id) or self._upto

    def cut(self, store: RunStore, holder: Holder) -> Holder:
        """Forget the oldest rows if the run is too large. If the store is in trouble, the
        next call does it.

        The record is older than the events of the run. So it is stored again first.

        :return: With the record as it is stored now.
        """
        if not self._upto:
            return holder
        renewed = renew(holder.channel, holder.record)
        number = Position.parse(self._upto).number
        try:
            position = store.change(renewed.changes)[0]
            holder = holder._replace(record=renewed.record._replace(position=position))
            while store.broker.forget(holder.channel, number, kind=RUN):
                pass
        except (NotPublished, PublishUncertain):
            return holder
        self._upto = ""
        _quiet.warning(
            "Deleted the beginning of the run on %r, which has more than %s bytes. Readers"
            " that need it get a gap. Write less, or raise PUSH_MAX_RUN_BYTES.",
            *(holder.channel, f"{self._most:,}"),
        )
        return holder
