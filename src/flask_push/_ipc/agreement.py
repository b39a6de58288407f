"""What the workers of an app tell its hub: which store it reads, how it treats streams."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass
from math import inf
from pathlib import Path

from .._delivery.options import Options
from ..brokers import Bridge
from ..brokers import Broker
from ..brokers import open_broker
from ..brokers import Retention
from .protocol import bridges_from_json


@dataclass(frozen=True)
class Agreement:
    """A worker's hello, checked."""

    #: As it was sent, for the hub's successor, which may know more of it.
    values: dict[str, t.Any]
    url: str
    retention: Retention | None
    #: Seconds that publishing may take.
    timeout: float
    options: Options
    linger: float
    #: Where the hub listens for nginx, if anywhere.
    accel: Path | None
    bridges: tuple[Bridge, ...]
    #: With which return tickets are signed.
    return_keys: tuple[bytes, ...]
    #: When the worker began, by the machine's clock.
    began: float

    @classmethod
    def from_json(cls, values: dict[str, t.Any], known: Agreement | None) -> Agreement:
        """
        :param known: Has what an older worker does not know of.
        :raises ValueError: If the values make no sense.
        """
        try:
            # An older worker knows of no bridges, and ends none.
            bridges = [] if known is None else known.values.get("bridges", [])
            values = {"bridges": bridges, **values}
            accel = values.get("accel")
            return cls(
                values=values,
                url=str(values["url"]),
                retention=_retention(values["retention"]),
                timeout=_number(values["timeout"]),
                options=Options.from_json(values["options"]),
                linger=_number(values["linger"]),
                accel=Path(accel) if accel else None,
                bridges=tuple(bridges_from_json(values["bridges"])),
                return_keys=tuple(map(bytes.fromhex, values.get("return_keys", []))),
                began=_number(values.get("began", time.monotonic())),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error

    def open_broker(self) -> Broker:
        return open_broker(self.url, None, self.retention, self.timeout)


def _number(value: t.Any) -> float:
    number = float(value)
    if not 0 <= number < inf:
        raise ValueError(f"{value!r} is no number of seconds")
    return number


def _retention(values: list[t.Any] | None) -> Retention | None:
    if values is None:
        return None
    age, count, size, *_ = values
    return Retention(float(age), int(count), int(size))
