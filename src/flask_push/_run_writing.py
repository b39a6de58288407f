"""How a run is written from a source, and how it shows its progress."""

from __future__ import annotations

import collections.abc as cabc
import json
import typing as t

from ._delivery.run_record import listing
from ._delivery.run_rows import Change
from ._delivery.run_rows import expects
from ._delivery.run_rows import NOW
from ._delivery.run_rows import PROGRESS
from ._delivery.run_rows import progress
from ._delivery.run_rows import RUN
from ._run_held import HeldRun
from ._run_held import Over
from .brokers import Conflict

Piece = t.TypeVar("Piece")


def write_all(
    held: HeldRun,
    source: cabc.Iterable[Piece],
    text_of: cabc.Callable[[Piece], str],
    type: str,
) -> list[Piece]:
    """Write what comes from a source, until it ends or the run is stopped.

    :return: What was stored.
    :raises Over: If the run is over and was not stopped.
    """
    written: list[Piece] = []
    pieces = iter(source)
    try:
        for piece in pieces:
            with held.lock:
                held.write([text_of(piece)], type)
            written.append(piece)
    except Over:
        if held.status not in ("stopping", "stopped"):
            raise
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            close()
    return written


def show(held: HeldRun, done: float, total: float | None, text: str) -> None:
    """Store how far a run is."""
    with held.lock:
        if held.is_over:
            raise Over
        record, channel = held.holder.record, held.holder.channel
        held.shown = said = {"done": done, "total": total, "text": text}
        fence = expects(channel, NOW, record.id)
        row = Change(RUN, channel, progress(record.tag), json.dumps(said), PROGRESS)
        listed = [listing(channel, record, said)] if record.listed else []
        try:
            held.store.change([fence, row, *listed])
        except Conflict:
            held.see(held.store.record(channel))
            raise Over from None
