"""Runs: answers and jobs that are written by one process at a time, and end once."""

from __future__ import annotations

import collections.abc as cabc
import logging
import os
import types
import typing as t

from . import _run_writing
from ._delivery.run_record import FINAL
from ._delivery.run_record import Record
from ._delivery.run_record import Refusal
from ._delivery.run_record import Status
from ._event_checks import EventChecks
from ._holder.entering import Refused
from ._holder.held import HeldRun
from ._holder.held import Over
from ._holder.process import RunProcess
from ._holder.store import find_again
from ._holder.store import Known
from .brokers import NotPublished
from .brokers import PublishUncertain

Piece = t.TypeVar("Piece")

logger = logging.getLogger("flask_push")


class _RunError(Exception):
    def __init__(self, text: str, run: Run | None = None) -> None:
        super().__init__(text)
        self._run = run

    def __reduce__(self) -> tuple[type[_RunError], tuple[str]]:
        # A run can't be sent to another process.
        return type(self), (str(self),)

    @property
    def run(self) -> Run:
        """The run that is the reason.

        :raises RuntimeError: If another process has raised the exception.
        """
        if self._run is None:
            raise RuntimeError(
                "Another process has raised this exception, and a run belongs to its"
                " process. Call running(channel)."
            )
        return self._run


class RunBusy(_RunError):
    """Another run of the channel is active, or another block writes this one. You can
    follow its ``run``."""


class RunOver(_RunError):
    """The run was stopped or lost, or has ended: nothing more can be written to it."""


class RunFailed(_RunError):
    """Raised by :meth:`Run.fail`, with its text. It ends the block, and leaves it, so that
    the code around it can react."""


class Run:
    """An answer or a job, with its events, its readers and its end. Made by
    :meth:`Push.run` and :meth:`Publisher.run`.

    One process writes it, in a ``with`` block. The end of the block ends the run::

        with push.run("chat:7", key=answer.id) as run:
            text = "".join(run.write_all(model(prompt)))
            save(answer.id, text)

    It is ``queued`` until the block is entered, and then ``running``. It ends once for each
    attempt: as ``done`` if the block ends; as ``failed`` if an exception leaves it; as
    ``stopped`` after :meth:`Push.stop`; or as ``lost`` if the process dies. One that is
    being stopped is ``stopping`` until its block ends, for ten seconds at most.

    Save the result inside the block. Then a page that receives the end finds it.
    """

    def __init__(
        self, process: RunProcess, checks: EventChecks, channel: str, known: Known
    ) -> None:
        self._process, self._checks, self._channel = process, checks, channel
        self._record, self._is_newest = known
        self._held: HeldRun | None = None

    def __repr__(self) -> str:
        about = f"{self.status}, attempt {self.attempt}"
        return f"<Run {self.id} on {self.channel!r} [{about}]>"

    def __reduce__(self) -> t.NoReturn:
        raise TypeError(
            "A run belongs to its process. Pass the channel and the key, and call"
            " run(channel, key=key) there."
        )

    @property
    def id(self) -> str:
        """Its id. Runs with the same channel and the same key have the same."""
        return self._record.run

    @property
    def channel(self) -> str:
        """Its channel."""
        return self._channel

    @property
    def key(self) -> str:
        """Its key, as text. Empty if it has none."""
        return self._record.key

    @property
    def status(self) -> Status:
        """Its status, as this process has last seen it."""
        return self._record.status if self._held is None else self._held.status

    @property
    def over(self) -> bool:
        """Whether it can't be entered any more: it is done or was stopped, or it has ended,
        and there is a newer run of its channel."""
        return self.status in FINAL or not self._is_newest

    @property
    def attempt(self) -> int:
        """How often it was entered, counted from 1. A run that has failed or is lost may be
        entered again, and all of it is written again."""
        return self._now.attempt

    def __enter__(self) -> Run:
        """Begin to write it.

        :raises RunBusy: If it is being written, or another run of its channel is active.
        :raises RunOver: If it is over: see :attr:`over`.
        :raises NotPublished: If the store can't be reached.
        :raises NotRead: If the store can't be read.
        :raises PublishUncertain: If it may have been entered.
        """
        try:
            self._held = self._process.enter(self._channel, self._now)
        except Refused as refused:
            raise self._refused(refused) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> bool:
        held = self._held
        if held is None or held.pid != os.getpid():
            return False
        try:
            with held.lock:
                self._end(held, error)
        except Over:
            if error is None and held.status != "stopped":
                raise self._over() from None
        except (NotPublished, PublishUncertain):
            if error is None:
                raise
            logger.exception(
                "Could not store that the run on %r has ended; it will be lost. Check the"
                " store.",
                self._channel,
            )
        finally:
            self._process.leave(held)
        ours = error is None or (isinstance(error, RunOver) and error._run is self)
        return ours and held.status == "stopped"

    def write(self, data: t.Any, *, type: str = "message") -> None:
        """Write an event. It is stored when this returns.

        While the store is in trouble, it waits, until shortly before the run could be taken
        for lost. Several threads may write: the events have the order in which the calls
        return.

        :param data: Text is sent as it is, anything else as JSON.
        :param type: As for :meth:`Publisher.publish`.
        :raises RunOver: If the run was stopped or is lost. Nothing was stored.
        :raises ValueError: If the event can't be sent to browsers.
        :raises TypeError: If the data can't be made JSON.
        :raises RuntimeError: If this process is not in the run's block.
        :raises NotPublished: If nothing was stored. You may write it again.
        :raises PublishUncertain: If it may have been stored or not.
        """
        text, held = self._text(data, type), self._holding()
        try:
            with held.lock:
                held.write([text], type)
        except Over:
            raise self._over() from None

    def write_all(
        self, source: cabc.Iterable[Piece], *, type: str = "message"
    ) -> list[Piece]:
        """Write each piece that comes from a source, until it ends or the run is stopped.

        Pieces that come within 50 milliseconds are stored together, and lost together if
        the process is killed then. If the source fails, the pieces before are stored first.

        :param source: Anything to iterate over. It is closed at the end.
        :param type: As for :meth:`write`.
        :return: The pieces that are stored. If the run was stopped, that is the beginning.
        :raises RunOver: If the run is lost.
        """
        held = self._holding()
        try:
            return _run_writing.write_all(
                self._process, held, source, lambda piece: self._text(piece, type), type
            )
        except Over:
            raise self._over() from None

    def progress(self, done: float, total: float | None = None, text: str = "") -> None:
        """Show how far the run is. Only the newest progress is kept.

        You may call it often: it is stored and sent at most ten times a second. The last
        progress always is, before the end of the run.

        :param done: How much is done, of `total`.
        :param text: What it does now, in 1,000 characters at most.
        :raises RunOver: If the run was stopped or is lost.
        :raises ValueError: If a number is infinite, or the text is too long.
        """
        progress = _run_writing.checked_progress(done, total, text)
        held = self._holding()
        try:
            _run_writing.show(self._process, held, progress)
        except Over:
            raise self._over() from None

    def check(self) -> None:
        """Raise :exc:`RunOver` if the run was stopped or is lost. Call it often in a block
        that writes nothing for long. It asks the store ten times a second at most.

        :raises RunOver: If the run is over.
        """
        held = self._holding()
        try:
            with held.lock:
                held.check()
        except Over:
            raise self._over() from None

    def fail(self, text: str) -> t.NoReturn:
        """End the run as failed, with a text that its readers see. This raises a
        :exc:`RunFailed`, which leaves the block. The text of any other exception is logged,
        and not sent.

        :param text: Has 1,000 characters at most.
        :raises ValueError: If the text is too long, or can't be sent. The run still fails.
        """
        if not isinstance(text, str):
            raise TypeError(f"fail takes a text for the user, not {text!r:.80}.")
        self._holding()
        raise RunFailed(_run_writing.checked_text(text), self)

    @property
    def _now(self) -> Record:
        return self._record if self._held is None else self._held.holder.record

    def _text(self, data: t.Any, type: str) -> str:
        return self._checks.text(data, type)

    def _holding(self) -> HeldRun:
        held = self._held
        if held is None:
            if self.over:
                raise self._over()
            raise RuntimeError(
                "A run is written in its block. Enter it first: 'with run:'."
            )
        if held.pid != os.getpid():
            raise RuntimeError(
                f"The run on {self._channel!r} was entered before this process was forked,"
                " and belongs to the parent. Write it there, or begin it in this process."
            )
        return held

    def _end(self, held: HeldRun, error: BaseException | None) -> None:
        if error is None:
            held.end("done")
        elif isinstance(error, RunFailed) and error._run is self:
            held.end("failed", str(error))
        else:
            if not (isinstance(error, RunOver) and error._run is self):
                logger.info("The run on %r has failed.", self._channel, exc_info=error)
            held.end("failed")

    def _refused(self, refused: Refused) -> _RunError:
        record = refused.record
        if refused.refusal is Refusal.BUSY:
            assert record is not None
            busy = Run(self._process, self._checks, self._channel, Known(record, True))
            return busy_error(busy)
        self._record, self._is_newest = find_again(record, self._now)
        self._held = None
        return self._over()

    def _over(self) -> RunOver:
        return RunOver(
            f"The run on {self._channel!r} is {self.status}: nothing more can be written to"
            " it.",
            self,
        )


def busy_error(run: Run) -> RunBusy:
    return RunBusy(
        f"A run on {run.channel!r} is {run.status}. Follow it, or wait for its end.", run
    )
