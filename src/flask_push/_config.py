"""The configuration: every key, its default, and what it has to be.

A test holds this table and the page *Configuration* together.
"""

from __future__ import annotations

import collections.abc as cabc
import re
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ._delivery.options import Options
from .brokers import open_broker
from .brokers import Retention
from .brokers._urls import hide_password


@dataclass(frozen=True)
class Config:
    """The keys' values, checked. Seconds and bytes, unless said otherwise."""

    broker_url: str | None = None
    run_dir: str | None = None
    hub: str | None = None
    hub_linger: float = 10
    hub_processes: int = 1
    retention: float = Retention.age
    keep: int = Retention.count
    store_bytes: int = Retention.bytes
    publish_timeout: float = 2
    lifetime: float = 3600
    heartbeat: float = Options.heartbeat
    retry: float = Options.retry
    return_rate: float = Options.return_rate
    max_streams: int = Options.max_streams
    max_streams_per_user: int = Options.max_per_user
    max_streams_per_address: int = Options.max_per_address
    gzip: bool = False
    max_channels: int = 100
    max_event_bytes: int = Options.max_event
    log_bytes: int = Options.log_bytes
    url_prefix: str | None = "/push"
    accel: str | None = None
    return_ticket: float = 0
    relay_max: int = 4
    relay_lifetime: float = 25

    @classmethod
    def read(cls, values: cabc.Mapping[str, t.Any]) -> Config:
        """Take the ``PUSH_`` keys out of an app's configuration.

        :raises ValueError: If a key is unknown or its value can't be right.
        """
        given = {
            key: value
            for key, value in values.items()
            if key.startswith("PUSH_") and not _names_a_service(key, value)
        }
        for key, value in given.items():
            if key not in KEYS:
                raise ValueError(f"{key} is not a key of Flask-Push. {_nearest(key)}")
            problem = KEYS[key](value)
            if problem:
                # A URL may have a password.
                shown = hide_password(value) if isinstance(value, str) else value
                raise ValueError(f"{key} = {shown!r}: {problem}")
        config = cls(**{key[5:].lower(): value for key, value in given.items()})
        if config.return_ticket and config.hub_processes > 1:
            raise ValueError(
                "PUSH_RETURN_TICKET needs one hub, to which nginx leads, and"
                f" PUSH_HUB_PROCESSES is {config.hub_processes}. Set one of them to its"
                " default."
            )
        return config

    @property
    def given_retention(self) -> Retention:
        return Retention(self.retention, self.keep, self.store_bytes)

    @property
    def options(self) -> Options:
        return Options(
            heartbeat=self.heartbeat,
            retry=self.retry,
            # Each process has its share.
            return_rate=self.return_rate / self.hub_processes,
            max_streams=-(-self.max_streams // self.hub_processes),
            max_per_user=self.max_streams_per_user,
            max_per_address=self.max_streams_per_address,
            max_event=self.max_event_bytes,
            log_bytes=self.log_bytes,
        )


# Names and values of what Kubernetes, and Docker's links, set in the environment of each
# container for a service called "flask-push", or "flask-push-redis".
_SERVICE = {
    r"PUSH_(\w+_)?SERVICE_HOST": r"[\w.:-]+",
    r"PUSH_(\w+_)?SERVICE_PORT(_\w+)?": r"\d+",
    r"PUSH_(\w+_)?PORT(_\d+_(TCP|UDP|SCTP))?": r"(tcp|udp|sctp)://\S+",
    r"PUSH_(\w+_)?PORT_\d+_(TCP|UDP|SCTP)_PROTO": "tcp|udp|sctp",
    r"PUSH_(\w+_)?PORT_\d+_(TCP|UDP|SCTP)_PORT": r"\d+",
    r"PUSH_(\w+_)?PORT_\d+_(TCP|UDP|SCTP)_ADDR": r"[\w.:-]+",
}


def _names_a_service(key: str, value: t.Any) -> bool:
    """Whether it is not meant for us, but ``from_prefixed_env()`` has made a key of it."""
    return any(
        re.fullmatch(name, key) and re.fullmatch(like, str(value))
        for name, like in _SERVICE.items()
    )


def _nearest(key: str) -> str:
    from difflib import get_close_matches

    found = get_close_matches(key, KEYS, n=1)
    return f"Did you mean {found[0]}?" if found else f"Its keys are {', '.join(KEYS)}."


Check = cabc.Callable[[t.Any], str]


def _number(least: float, most: float, unit: str, whole: bool = False) -> Check:
    def check(value: t.Any) -> str:
        kinds = (int,) if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            return f"it has to be a {'whole ' if whole else ''}number of {unit}."
        if not least <= value <= most:
            return f"it has to be from {least:,} to {most:,} {unit}."
        return ""

    return check


def _url(value: t.Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        return "it has to be a URL, such as 'sqlite:' or 'memory:'."
    try:
        open_broker(value, Path("/"))
    except ValueError as error:
        return str(error)
    return ""


def _path(value: t.Any) -> str:
    if value is None or (isinstance(value, (str, Path)) and Path(value).is_absolute()):
        return ""
    return "it has to be an absolute path, which means the same in every process."


def _flag(value: t.Any) -> str:
    return "" if isinstance(value, bool) else "it has to be True or False."


def _hub(value: t.Any) -> str:
    if value in (None, "process", "thread"):
        return ""
    if isinstance(value, str) and Path(value).is_absolute():
        return ""
    return (
        "it has to be 'process', 'thread', or the absolute path of the socket of a hub"
        " that is run by hand ('flask push hub')."
    )


def _location(value: t.Any) -> str:
    if value is None or (isinstance(value, str) and re.fullmatch(r"/([\w.~-]+/)+", value)):
        return ""
    return "it has to be a location of nginx that begins and ends with a slash: '/_push/'."


def _prefix(value: t.Any) -> str:
    if value is None or (isinstance(value, str) and re.fullmatch(r"(/[\w.~-]+)+", value)):
        return ""
    return "it has to begin with a slash, and not to end with one: '/push'; or None."


_YEAR = 366 * 86400
_GIGABYTE = 2**30

KEYS: dict[str, Check] = {
    "PUSH_BROKER_URL": _url,
    "PUSH_RUN_DIR": _path,
    "PUSH_HUB": _hub,
    "PUSH_HUB_LINGER": _number(0, 86400, "seconds"),
    "PUSH_HUB_PROCESSES": _number(1, 64, "processes", whole=True),
    "PUSH_RETENTION": _number(1, _YEAR, "seconds"),
    "PUSH_KEEP": _number(1, 10_000_000, "events", whole=True),
    "PUSH_STORE_BYTES": _number(2**20, 1024 * _GIGABYTE, "bytes", whole=True),
    "PUSH_PUBLISH_TIMEOUT": _number(0.01, 60, "seconds"),
    "PUSH_LIFETIME": _number(0, _YEAR, "seconds"),
    "PUSH_HEARTBEAT": _number(0.1, 3600, "seconds"),
    "PUSH_RETRY": _number(0.5, 3600, "seconds"),
    "PUSH_RETURN_RATE": _number(0, 10_000_000, "streams a second"),
    "PUSH_GZIP": _flag,
    "PUSH_MAX_STREAMS": _number(1, 10_000_000, "streams", whole=True),
    "PUSH_MAX_STREAMS_PER_USER": _number(0, 10_000_000, "streams", whole=True),
    "PUSH_MAX_STREAMS_PER_ADDRESS": _number(0, 10_000_000, "streams", whole=True),
    "PUSH_MAX_CHANNELS": _number(1, 10_000, "channels", whole=True),
    "PUSH_MAX_EVENT_BYTES": _number(1, _GIGABYTE, "bytes", whole=True),
    "PUSH_LOG_BYTES": _number(0, 64 * _GIGABYTE, "bytes", whole=True),
    "PUSH_URL_PREFIX": _prefix,
    "PUSH_ACCEL": _location,
    "PUSH_RETURN_TICKET": _number(0, _YEAR, "seconds"),
    "PUSH_RELAY_MAX": _number(0, 10_000, "streams", whole=True),
    "PUSH_RELAY_LIFETIME": _number(1, 3600, "seconds"),
}
