"""What a request asks for, in its own words."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from flask import Request
from werkzeug.exceptions import BadRequest
from werkzeug.exceptions import Forbidden
from werkzeug.http import parse_accept_header

from . import _names
from ._event import escape
from ._return import position_of
from ._stream import Stream


class NoChannel(BadRequest, ValueError):
    """A bad request where a request may choose, and a mistake where it may not."""


def stream(request: Request) -> Stream:
    """What stands in the request of the stream that answers it, but for its channels."""
    # Of most words there are none, and Werkzeug's get() makes an exception of each.
    words = request.args.to_dict()
    return Stream(
        channels=(),
        # As it was called before, if it says so.
        connection=_names.call(words.get("connection", "")),
        position=position_of(request.headers.get("Last-Event-ID", ""), words.get),
        poll=words.get("poll") == "1",
        visible=words.get("visible") == "1",
    )


def takes_gzip(accept_encoding: str) -> bool:
    """Whether the header says so."""
    return parse_accept_header(accept_encoding)["gzip"] > 0


def channels(request: Request, most: int) -> tuple[str, ...]:
    """The channels asked for, each once.

    :raises BadRequest: If no stream could have them.
    """
    asked = tuple(dict.fromkeys(request.args.getlist("channel")))
    if len(asked) > most:
        raise BadRequest(f"{len(asked):,} channels are more than one stream may have.")
    for channel in asked:
        try:
            escape(channel)
        except ValueError as error:
            raise BadRequest(str(error)) from None
    return asked


def check(
    request: Request, granted: cabc.Collection[str], most: int, lifetime: float
) -> None:
    """See that a stream can be granted what its view says."""
    if not granted:
        _refuse(request)
    if len(granted) > most:
        raise ValueError(
            f"A stream of {len(granted):,} channels is more than {most:,}"
            " (PUSH_MAX_CHANNELS). Publish to fewer channels that more readers share."
        )
    for channel in granted:
        escape(channel)
    if not lifetime >= 0:
        raise ValueError(f"lifetime is a number of seconds, or 0, not {lifetime!r}.")


def _refuse(request: Request) -> t.NoReturn:
    if request.args.getlist("channel"):
        raise Forbidden("You may listen to none of these channels.")
    raise NoChannel("A stream needs at least one channel.")
