"""How a process begins to hold a run."""

from __future__ import annotations

from .._delivery.run_holder import Holder
from .._delivery.run_record import enter
from .._delivery.run_record import Record
from .._delivery.run_record import Refusal
from .._delivery.run_rows import Change
from ..brokers import Conflict
from .store import RunStore


class Refused(Exception):
    """A run can't be entered."""

    def __init__(self, refusal: Refusal, record: Record | None) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal
        #: That of the channel now.
        self.record = record


def begin(
    store: RunStore, channel: str, run: Record, process: str, beat: Change
) -> tuple[Holder, str]:
    """Enter a run.

    :param run: As it was read.
    :param process: Who holds it from now on.
    :param beat: The change that says that the process lives. It is the last of the
        transaction.
    :return: And the id of the beat. Empty if the store did not return it.
    :raises Refused: If the run can't be entered.
    :raises Conflict: If an expectation of the beat is not met.
    """
    # If a queued run is not as it was read, the store refuses the change. So it is read
    # again only then: those who enter runs of one process wait for each other.
    is_queued = run.status == "queued" and run.position.number
    record = run if is_queued else store.record(channel)
    while True:
        if record is None:
            raise Refused(Refusal.OVER, None)
        # A store that was emptied counts from 1 again.
        serial = run.serial if record.run == run.run else 0
        entering = enter(channel, record, serial, process)
        if isinstance(entering, Refusal):
            raise Refused(entering, record)
        try:
            stored = store.commit(channel, entering, [beat])
        except Conflict:
            before, record = record, store.record(channel)
            if record is not None and record.id == before.id:
                raise
        else:
            about = channel, stored.record, entering.event, stored.event_id
            return Holder(*about), stored.last_id
