"""How a run is written from a source, and how it shows its progress."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import math
import typing as t

from ._checks import check_number
from ._holder.held import HeldRun
from ._holder.held import Over
from ._holder.pending import Progress
from ._holder.pending import Source
from ._holder.process import RunProcess
from ._names import plain
from ._pieces import close
from .brokers import NotPublished
from .brokers import PublishUncertain

Piece = t.TypeVar("Piece")

#: Characters of the text of progress, and of the text with which a run fails.
MAX_TEXT = 1000


def write_all(
    process: RunProcess,
    held: HeldRun,
    pieces: cabc.Iterable[Piece],
    text_of: cabc.Callable[[Piece], str],
    type: str,
) -> list[Piece]:
    """Write what comes from a source, until it ends or the run is stopped. Then close it.

    :return: What was stored.
    :raises Over: If the run is over and was not stopped.
    """
    source, read = Source(type), list[Piece]()
    iterator = iter(pieces)
    try:
        while (text := _next(held, iterator, text_of, read)) is not None:
            if held.is_over:
                raise Over
            held.pending.add(text, source)
            if not held.pending.is_known:
                process.wants(held)
            if held.pending.is_much:
                _store(held)
        _store(held)
    except Over:
        if held.status not in ("stopping", "stopped"):
            raise
    finally:
        with held.lock:
            held.pending.drop(source)
        _close(iterator, pieces)
    return read[: source.stored]


def show(process: RunProcess, held: HeldRun, progress: Progress) -> None:
    """Store how far a run is, or let the thread store it.

    :raises Over: If the run is over.
    """
    with held.lock:
        if held.is_over:
            raise Over
        held.shown = held.pending.progress = progress
        if held.pending.progress_is_due:
            held.show_pending()
    if held.pending.progress is not None:
        process.wants(held)


def checked_progress(done: float, total: float | None, text: str) -> Progress:
    """
    :raises TypeError: If a value has another type.
    :raises ValueError: If it can't be shown.
    """
    numbers = {"done": done} if total is None else {"done": done, "total": total}
    for name, value in numbers.items():
        check_number(value, f"{name} is a number")
        if not _is_finite(value):
            raise ValueError(f"{name} is a number that JSON has, not {value!r:.80}.")
    if not isinstance(text, str):
        raise TypeError(f"text says what the run does now, not {text!r:.80}.")
    return {"done": done, "total": total, "text": checked_text(text)}


def checked_text(text: str) -> str:
    """
    :raises ValueError: If it can't be shown.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f"text has {len(text):,} characters, {MAX_TEXT:,} at most.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("text holds a lone surrogate, which is not text.") from None
    return plain(text)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        # A whole number that no page could read.
        return False


def _next(
    held: HeldRun,
    iterator: cabc.Iterator[Piece],
    text_of: cabc.Callable[[Piece], str],
    read: list[Piece],
) -> str | None:
    """Read one more piece. If the source fails, what came before is stored first."""
    try:
        for piece in iterator:
            text = text_of(piece)
            read.append(piece)
            return text
    except BaseException:
        with contextlib.suppress(Over, NotPublished, PublishUncertain):
            _store(held)
        raise
    return None


def _store(held: HeldRun) -> None:
    with held.lock:
        if held.is_over:
            raise Over
        held.write_pending()


def _close(iterator: cabc.Iterator[Piece], pieces: cabc.Iterable[Piece]) -> None:
    for each in [iterator] if iterator is pieces else [iterator, pieces]:
        close(each)
