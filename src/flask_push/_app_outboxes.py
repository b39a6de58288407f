"""The relays of an app's outboxes in one process."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from flask import Flask

from ._publisher import Publisher


class Relays(t.Protocol):
    """What one outbox has for the app."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def join(self, timeout: float) -> None: ...

    @property
    def relayed(self) -> int: ...


class Opens(t.Protocol):
    """An outbox."""

    def open(self, app: Flask, publisher: Publisher, *, is_direct: bool) -> Relays:
        """Make the relay of an app in this process."""


class AppOutboxes:
    """
    :param in_thread: Whether each has a thread: ``PUSH_OUTBOX_THREAD``.
    :param is_direct: Whether the thread that commits sends, because the app is tested.
    """

    def __init__(self, publisher: Publisher, in_thread: bool, is_direct: bool) -> None:
        self._publisher = publisher
        self._in_thread, self._is_direct = in_thread, is_direct
        self._relays: dict[Opens, Relays] = {}

    def open(self, app: Flask, outboxes: cabc.Iterable[Opens]) -> list[Relays]:
        """Make the relays that are not there yet, and start their threads if they don't
        run, as after a fork.

        :raises RuntimeError: If an outbox does not know its database.
        """
        for outbox in outboxes:
            if outbox not in self._relays:
                self._relays[outbox] = outbox.open(
                    app, self._publisher, is_direct=self._is_direct
                )
            if self._in_thread:
                self._relays[outbox].start()
        return [*self._relays.values()]

    def stop(self) -> None:
        """Let the threads end."""
        for relay in self._relays.values():
            relay.stop()
