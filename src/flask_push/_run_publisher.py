"""Make, find and stop runs, with or without an app."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import hashlib
import json
import secrets
import typing as t

from ._checks import check_seconds
from ._delivery import run_record
from ._delivery.run_record import Transition
from ._event import base62
from ._event import Name
from ._event_checks import EventChecks
from ._event_checks import json_text
from ._holder.patience import not_read
from ._holder.process import RunProcess
from ._holder.space import forget_older
from ._holder.store import Known
from ._ipc.lost_runs import last_progress
from ._names import channel_name
from ._names import key_name
from ._presence import PresencePublisher
from ._runs import busy_error
from ._runs import Run
from .brokers import Conflict
from .brokers import NotRead

#: Bytes of the JSON of `info`. The store keeps it with each change of the run.
MAX_INFO = 4096

# Of an id; and of a number of 256 bits.
_ID_DIGITS, _ALL_DIGITS = 16, 43


class RunPublisher(PresencePublisher):
    """What :class:`Publisher` and :class:`Push` do with runs."""

    def run(
        self,
        channel: str,
        *,
        key: Name | None = None,
        listed: str | None = None,
        info: cabc.Mapping[str, t.Any] | None = None,
        wait: float = 600,
    ) -> Run:
        """Make a run of a channel, or find the one that has this key.

        From now on it is queued, and can be followed and stopped. Enter it to write it, in
        this process or, by the same key, in another one. A channel has one active run.

        :param key: The name of the run on its channel, such as the id of the row in which
            its result will be. Without a key, each call makes another run. With one, the
            run is found for as long as events are kept, also after its end, and the other
            arguments don't matter then.
        :param listed: The channel on which the run is an item, whose name is `channel`,
            with its status and its progress.
        :param info: More that the item shows, in at most 4,096 bytes of JSON.
        :param wait: Seconds after which the run is lost if it was not entered.
        :raises RunBusy: If another run of the channel is active.
        :raises ValueError: If a name is invalid, or `info` is too large.
        :raises TypeError: If an argument has the wrong type.
        :raises RuntimeError: If the broker keeps no runs.
        :raises ItemsFull: If there are too many items on the channel `listed`.
        :raises NotPublished: If the store can't be reached: there is no run.
        :raises PublishUncertain: If the run may have been made. With a key, call it again.
        """
        channel = channel_name(channel)
        name = "" if key is None else key_name(key)
        id = run_id(channel, name) if name else _digits(secrets.randbits(256))
        list_name = checked_list(listed)
        _, checks = self._runs()
        about = list_name, checked_info(info, list_name, checks)
        waits = check_seconds("wait", wait)
        try:
            return self._run(channel, id, name, waits, *about)
        except NotRead as error:
            raise not_read(error) from error

    def running(self, channel: str) -> Run | None:
        """The channel's run that is queued, running or stopping. ``None`` if there is none.

        Call it before your view reads its rows.

        :raises ValueError: If the channel's name is invalid.
        :raises RuntimeError: If the broker keeps no runs.
        :raises NotRead: If the store can't be read now.
        """
        channel = channel_name(channel)
        process, checks = self._runs()
        record = process.look.record(process.store, channel)
        if record is None or not record.is_active:
            return None
        return Run(process, checks, channel, Known(record, True))

    def stop(self, channel: str, *, key: Name | None = None) -> bool:
        """Stop the active run of a channel: when this returns, no event of the run is
        stored any more but its end.

        :param key: Stop only the run that has this key.
        :return: Whether there was such a run. It ends as stopped.
        :raises ValueError: If a name is invalid.
        :raises TypeError: If the key has the wrong type.
        :raises RuntimeError: If the broker keeps no runs.
        :raises NotPublished: If the store can't be reached: nothing was stopped.
        :raises PublishUncertain: If the run may have been stopped. Call it again.
        """
        channel = channel_name(channel)
        name = None if key is None else key_name(key)
        process, _ = self._runs()
        try:
            return _stop(process, channel, name)
        except NotRead as error:
            raise not_read(error) from error

    def _run(
        self, channel: str, id: str, key: str, wait: float, listed: str, info: t.Any
    ) -> Run:
        process, checks = self._runs()
        process.look.tidy(process.store.broker)
        while True:
            record = process.look.record(process.store, channel)
            found = process.store.find_key(channel, record, key) if key else None
            if found is not None:
                return Run(process, checks, channel, found)
            making = run_record.make(channel, record, id, key, wait, listed, info)
            if not isinstance(making, Transition):
                assert record is not None
                raise busy_error(Run(process, checks, channel, Known(record, True)))
            try:
                stored = process.store.commit(channel, making)
            except Conflict:
                continue
            forget_older(process.store.broker, channel, stored.record)
            return Run(process, checks, channel, Known(stored.record, True))

    # The rest of the publisher.

    def _runs(self) -> tuple[RunProcess, EventChecks]:
        """
        :raises RuntimeError: If the broker keeps no runs.
        """
        raise NotImplementedError


def _stop(process: RunProcess, channel: str, key: str | None) -> bool:
    store = process.store
    while True:
        record = process.look.record(store, channel)
        if record is None or not record.is_active or key not in (None, record.key):
            return False
        shown = last_progress(store.broker, channel, record) if record.listed else None
        stopping = run_record.stop(channel, record, shown)
        with contextlib.suppress(Conflict):
            if stopping is not None:
                store.commit(channel, stopping)
            return True


def run_id(channel: str, key: str) -> str:
    """The id of the run that has the key. It is the same in each store."""
    digest = hashlib.sha256(f"{channel}\0{key}".encode()).digest()
    return _digits(int.from_bytes(digest, "big"))


def _digits(number: int) -> str:
    """Text of which each digit may be any.

    :param number: Of 256 bits.
    """
    return base62(number).zfill(_ALL_DIGITS)[-_ID_DIGITS:]


def checked_list(listed: str | None) -> str:
    """
    :raises ValueError: If it is not a channel.
    """
    try:
        return "" if listed is None else channel_name(listed)
    except ValueError as error:
        raise ValueError(f"listed: {error}") from None


def checked_info(
    info: cabc.Mapping[str, t.Any] | None, listed: str, checks: EventChecks
) -> t.Any:
    """What a run shows on its list, as values of JSON.

    :raises TypeError: If it is no mapping, or can't be made JSON.
    :raises ValueError: If it is too large, or not shown anywhere.
    """
    if info is None:
        return None
    if not isinstance(info, cabc.Mapping):
        raise TypeError(
            "info is what the list shows of the run, as in info={'name': 'import'}, not"
            f" {info!r:.80}."
        )
    if not listed:
        raise ValueError("Only a run that is listed shows info. Name its channel: listed=.")
    text = json_text(dict(info), checks.dumps)
    values = json.loads(text)
    try:
        # JSON can have one in ASCII.
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("info holds a lone surrogate, which is not text.") from None
    size = len(text.encode())
    if size > MAX_INFO:
        raise ValueError(
            f"info has {size:,} bytes of JSON, {MAX_INFO:,} at most. Show what the list"
            " needs, and keep the rest in your database."
        )
    return values
