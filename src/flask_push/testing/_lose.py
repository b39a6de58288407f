"""Runs that are lost when a test wants it."""

from __future__ import annotations

from .._ipc.lost_runs import end_run
from .._ipc.lost_runs import find_record
from .._runs import Run


def lose(run: Run) -> None:
    """Lose a run, as if the process that writes it had been killed half a minute ago: its
    readers get the end, and its next write raises :exc:`~flask_push.RunOver`. Other runs go
    on.

    :raises ValueError: If the run is not active.
    """
    store = run._process.store
    while True:
        record = find_record(store.broker, run.channel)
        if record is None or record.run != run.id or not record.is_active:
            raise ValueError(f"{run!r} is not active, so it can't be lost.")
        if end_run(store.broker, run.channel, record, count=store.count):
            return
