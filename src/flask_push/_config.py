"""The configuration. A key, its default and its check are declared once: as a field of
:class:`Config`. The page *Configuration* describes the keys, and a test compares the two.
"""

from __future__ import annotations

import collections.abc as cabc
import re
import typing as t
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
from dataclasses import replace
from pathlib import Path

from ._delivery.options import Options
from ._delivery.run_size import MAX_RUN_BYTES
from ._delivery.run_size import RUN_BYTES_RANGE
from .brokers import open_broker
from .brokers import Retention
from .brokers._urls import hide_password

# Says what is wrong with a value; empty if it is valid.
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
    return "it has to be an absolute path, so that all processes find the same directory."


def _flag(value: t.Any) -> str:
    return "" if isinstance(value, bool) else "it has to be True or False."


def _function(value: t.Any) -> str:
    if value is None or callable(value):
        return ""
    return (
        "it has to be a function that is called with the error and with what was not sent,"
        " or None."
    )


def _hub(value: t.Any) -> str:
    if value in (None, "process", "thread"):
        return ""
    if isinstance(value, str) and Path(value).is_absolute():
        return ""
    return (
        "it has to be 'process', 'thread', or the absolute path of the socket of a hub"
        " that you run yourself ('flask push hub')."
    )


def _location(value: t.Any) -> str:
    if value is None or (isinstance(value, str) and re.fullmatch(r"/([\w.~-]+/)+", value)):
        return ""
    return "it has to be a location of nginx that begins and ends with a slash: '/_push/'."


def _prefix(value: t.Any) -> str:
    if value is None or (isinstance(value, str) and re.fullmatch(r"(/[\w.~-]+)+", value)):
        return ""
    return "it has to begin with a slash and not end with one, as '/push'; or be None."


def _key(default: t.Any, check: Check) -> t.Any:
    """A key. Its name is that of the field, as ``PUSH_HUB_LINGER`` for ``hub_linger``."""
    return field(default=default, metadata={"check": check})


def _option(option: str, check: Check) -> t.Any:
    """A key that sets this field of the hub's :class:`Options`, and has its default."""
    return field(
        default=getattr(Options, option), metadata={"check": check, "option": option}
    )


_YEAR = 366 * 86400
_GIGABYTE = 2**30


@dataclass(frozen=True)
class Config:
    """The checked values of all keys. Times are in seconds, sizes in bytes."""

    broker_url: str | None = _key(None, _url)
    run_dir: str | None = _key(None, _path)
    hub: str | None = _key(None, _hub)
    hub_linger: float = _key(10, _number(0, 86400, "seconds"))
    hub_processes: int = _key(1, _number(1, 64, "processes", whole=True))
    retention: float = _key(Retention.age, _number(1, _YEAR, "seconds"))
    keep: int = _key(Retention.count, _number(1, 10_000_000, "events", whole=True))
    store_bytes: int = _key(
        Retention.bytes, _number(2**20, 1024 * _GIGABYTE, "bytes", whole=True)
    )
    max_items: int = _key(Retention.items, _number(1, 1_000_000, "items", whole=True))
    items_bytes: int = _key(
        Retention.item_bytes, _number(1024, _GIGABYTE, "bytes", whole=True)
    )
    publish_timeout: float = _key(2, _number(0.01, 60, "seconds"))
    lifetime: float = _key(3600, _number(0, _YEAR, "seconds"))
    heartbeat: float = _option("heartbeat", _number(0.1, 3600, "seconds"))
    retry: float = _option("retry", _number(0.5, 3600, "seconds"))
    return_rate: float = _option("return_rate", _number(0, 10_000_000, "streams a second"))
    disconnect: bool = _option("disconnect", _flag)
    presence_grace: float = _option("grace", _number(0, 3600, "seconds"))
    lost_after: float = _option("lost_after", _number(10, 3600, "seconds"))
    metrics: bool = _option("metrics", _flag)
    gzip: bool = _key(False, _flag)
    max_streams: int = _option("max_streams", _number(1, 10_000_000, "streams", whole=True))
    max_streams_per_user: int = _option(
        "max_per_user", _number(0, 10_000_000, "streams", whole=True)
    )
    max_streams_per_address: int = _option(
        "max_per_address", _number(0, 10_000_000, "streams", whole=True)
    )
    max_channels: int = _key(100, _number(1, 10_000, "channels", whole=True))
    max_event_bytes: int = _option("max_event", _number(1, _GIGABYTE, "bytes", whole=True))
    max_run_bytes: int = _key(MAX_RUN_BYTES, _number(*RUN_BYTES_RANGE, "bytes", whole=True))
    log_bytes: int = _option("log_bytes", _number(0, 64 * _GIGABYTE, "bytes", whole=True))
    url_prefix: str | None = _key("/push", _prefix)
    stream_url: str | None = _key(None, _prefix)
    admin_url_prefix: str | None = _key(None, _prefix)
    accel: str | None = _key(None, _location)
    return_ticket: float = _key(0, _number(0, _YEAR, "seconds"))
    relay_max: int = _key(4, _number(0, 10_000, "streams", whole=True))
    relay_lifetime: float = _key(25, _number(1, 3600, "seconds"))
    outbox_thread: bool = _key(True, _flag)
    after_commit_error: cabc.Callable[[Exception, t.Any], object] | None = _key(
        None, _function
    )

    @classmethod
    def read(cls, values: cabc.Mapping[str, t.Any]) -> Config:
        """Take the ``PUSH_`` keys from an app's configuration.

        :raises ValueError: If a key is unknown or its value is invalid.
        """
        given = {}
        for key, value in values.items():
            if not key.startswith("PUSH_") or _names_a_service(key, value):
                continue
            if key not in KEYS:
                raise ValueError(f"{key} is not a key of Flask-Push. {_nearest(key)}")
            problem = KEYS[key](value)
            if problem:
                # A URL may have a password.
                shown = hide_password(value) if isinstance(value, str) else value
                raise ValueError(f"{key} = {shown!r}: {problem}")
            given[key.removeprefix("PUSH_").lower()] = value
        config = cls(**given)
        if config.admin_url_prefix is not None:
            # The page shows what hubs measure.
            config = replace(config, metrics=True)
        if config.return_ticket and config.hub_processes > 1:
            raise ValueError(
                "PUSH_RETURN_TICKET works with one hub process, and PUSH_HUB_PROCESSES is"
                f" {config.hub_processes}. Remove one of the two keys."
            )
        return config

    @property
    def given_retention(self) -> Retention:
        events = self.retention, self.keep, self.store_bytes
        return Retention(*events, self.max_items, self.items_bytes)

    @property
    def options(self) -> Options:
        """The options of one hub process: it has its share of all streams."""
        options = Options(
            **{
                key.metadata["option"]: getattr(self, key.name)
                for key in fields(self)
                if "option" in key.metadata
            }
        )
        return replace(
            options,
            return_rate=self.return_rate / self.hub_processes,
            max_streams=-(-self.max_streams // self.hub_processes),
        )


#: All keys, with the check of each.
KEYS: dict[str, Check] = {
    f"PUSH_{key.name.upper()}": key.metadata["check"] for key in fields(Config)
}


# Variables that Kubernetes, and Docker for a link, set in each container if there is a
# service whose name begins with "flask-push": their names, and how their values look.
_SERVICE = {
    r"PUSH_(\w+_)?SERVICE_HOST": r"[\w.:-]+",
    r"PUSH_(\w+_)?SERVICE_PORT(_\w+)?": r"\d+",
    r"PUSH_(\w+_)?PORT(_\d+_(TCP|UDP|SCTP))?": r"(tcp|udp|sctp)://\S+",
    r"PUSH_(\w+_)?PORT_\d+_(TCP|UDP|SCTP)_PROTO": "tcp|udp|sctp",
    r"PUSH_(\w+_)?PORT_\d+_(TCP|UDP|SCTP)_PORT": r"\d+",
    r"PUSH_(\w+_)?PORT_\d+_(TCP|UDP|SCTP)_ADDR": r"[\w.:-]+",
}


def _names_a_service(key: str, value: t.Any) -> bool:
    """Whether ``from_prefixed_env()`` made this key of such a variable."""
    return any(
        re.fullmatch(name, key) and re.fullmatch(like, str(value))
        for name, like in _SERVICE.items()
    )


def _nearest(key: str) -> str:
    from difflib import get_close_matches

    found = get_close_matches(key, KEYS, n=1)
    return f"Did you mean {found[0]}?" if found else f"Its keys are {', '.join(KEYS)}."
