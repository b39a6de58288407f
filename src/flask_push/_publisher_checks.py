"""Checks of what a publisher is made with, and of what its broker can do."""

from __future__ import annotations

import math

from ._checks import check_number
from ._checks import check_seconds
from ._delivery.run_size import RUN_BYTES_RANGE
from ._event_checks import Dumps
from ._holder.process import MIN_LOST_AFTER
from .brokers import Broker
from .brokers import KeepsOwnLogs


def check_options(
    timeout: float,
    max_event_bytes: int,
    dumps: Dumps,
    lost_after: float,
    max_run_bytes: int,
) -> None:
    """
    :raises TypeError: If one has the wrong type.
    :raises ValueError: If it is too small, or too large.
    """
    check_seconds("timeout", timeout)
    sizes = {"max_event_bytes": max_event_bytes, "max_run_bytes": max_run_bytes}
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"{name} is a number, not {size!r:.80}.")
    least, most = RUN_BYTES_RANGE
    if not least <= max_run_bytes <= most:
        raise ValueError(
            f"max_run_bytes is a number of bytes from {least} to {most}, not"
            f" {max_run_bytes}."
        )
    if not callable(dumps):
        raise TypeError(f"dumps is a function such as json.dumps, not {dumps!r:.80}.")
    check_number(lost_after, "lost_after is a number of seconds")
    if not MIN_LOST_AFTER <= lost_after < math.inf:
        raise ValueError(
            f"lost_after is a number of seconds from {MIN_LOST_AFTER}, not {lost_after!r}."
        )


def check_function(name: str, value: object) -> None:
    """
    :raises TypeError: If it is neither a function nor ``None``.
    """
    if value is not None and not callable(value):
        raise TypeError(f"{name} is a function, or None, not {value!r:.80}.")


def keeper_of_logs(broker: Broker) -> KeepsOwnLogs:
    """
    :raises RuntimeError: If nothing can be disconnected with this broker.
    """
    if not isinstance(broker, KeepsOwnLogs):
        raise RuntimeError(
            f"{type(broker).__name__} does not keep disconnects, because it has no logs of"
            " Flask-Push's own (flask_push.brokers.KeepsOwnLogs). Use memory:, sqlite:, or"
            " a Redis."
        )
    return broker
