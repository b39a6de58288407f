"""What a worker's hello says: which store the hub reads, and how it treats streams."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass
from math import inf
from pathlib import Path

from .._delivery.known import known
from .._delivery.options import Options
from ..brokers import Bridge
from ..brokers import Broker
from ..brokers import open_broker
from ..brokers import Retention


@dataclass(frozen=True)
class Agreement:
    """The values of a :class:`.Hello`, checked."""

    #: As they were sent, because the hub's successor may know more of them.
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
    #: The keys with which return tickets are signed.
    return_keys: tuple[bytes, ...]
    #: When the worker started, by the machine's monotonic clock.
    began: float

    @classmethod
    def of(cls, values: t.Any, before: Agreement | None) -> Agreement:
        """
        :param before: The agreement until now, which has what an older worker lacks.
        :raises ValueError: If a value is missing or invalid.
        """
        try:
            # A worker that is too old to know bridges must not end those of others.
            bridges = [] if before is None else before.values.get("bridges", [])
            values = {"bridges": bridges, **values}
            accel = values.get("accel")
            return cls(
                values=values,
                url=str(values["url"]),
                retention=_retention(values["retention"], values.get("items")),
                timeout=_number(values["timeout"]),
                options=Options.from_json(values["options"]),
                linger=_number(values["linger"]),
                accel=Path(accel) if accel else None,
                bridges=tuple(Bridge(**known(Bridge, each)) for each in values["bridges"]),
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
        raise ValueError(f"{value!r} is not a number of seconds")
    return number


def _retention(values: list[t.Any] | None, items: list[t.Any] | None) -> Retention | None:
    if values is None:
        return None
    age, count, size, *_ = values
    most, most_bytes, *_ = items or (Retention.items, Retention.item_bytes)
    return Retention(float(age), int(count), int(size), int(most), int(most_bytes))
