"""What a request asks for, in its own words."""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from uuid import UUID

from flask import Request
from werkzeug.exceptions import BadRequest
from werkzeug.exceptions import Forbidden
from werkzeug.http import parse_accept_header

from ._config import KEYS
from ._delivery.connection_id import new_connection_id
from ._delivery.stream import Stream
from ._delivery.tickets import position_of
from ._event import escape


class BadChannels(BadRequest, ValueError):
    """A bad request where the request chooses channels, and a mistake of the view where it
    does not."""


def stream(request: Request) -> Stream:
    """What stands in the request of the stream that answers it, but for its channels."""
    # Of most words there are none, and Werkzeug's get() makes an exception of each.
    words = request.args.to_dict()
    return Stream(
        channels=(),
        # As it was called before, if it says so.
        connection=new_connection_id(words.get("connection", "")),
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
    asked = tuple(dict.fromkeys(_channels(request)))
    if len(asked) > most:
        raise BadRequest(f"{len(asked):,} channels are more than one stream may have.")
    for channel in asked:
        try:
            escape(channel)
        except ValueError as error:
            raise BadRequest(str(error)) from None
    return asked


def _channels(request: Request) -> list[str]:
    """From the address, and from the body of a POST, which may have any number of them."""
    asked = request.args.getlist("channel")
    if request.method != "POST":
        return asked
    if not request.is_json:
        return asked + request.form.getlist("channel")
    body = request.get_json()
    more = body.get("channel", []) if isinstance(body, dict) else []
    more = more if isinstance(more, list) else [more]
    if not all(isinstance(name, str) for name in more):
        raise BadRequest('"channel" is a name, or a list of names.')
    return asked + more


def check(
    request: Request, granted: cabc.Collection[str], most: int, lifetime: float
) -> None:
    """See that a stream can be granted what its view says.

    :raises ValueError: If it can't be.
    :raises TypeError: If a channel is no text.
    """
    if not granted:
        _refuse(request)
    if len(granted) > most:
        of_request = len(request.args.getlist("channel")) > most
        raise (BadChannels if of_request else ValueError)(
            f"A stream of {len(granted):,} channels is more than {most:,}"
            " (PUSH_MAX_CHANNELS). Publish to fewer channels that more readers share."
        )
    for channel in granted:
        if not isinstance(channel, str):
            raise TypeError(
                f"A channel's name is text, not {channel!r:.80}. Pass several channels as"
                " several arguments: push.stream(*channels)."
            )
        try:
            escape(channel)
        except ValueError as error:
            # It may be made of what the request says, and then it is no fault of the app.
            raise BadChannels(str(error)) from None
    problem = KEYS["PUSH_LIFETIME"](lifetime)
    if problem:
        raise ValueError(f"lifetime = {lifetime!r}: {problem} 0 is for ever.")


def user(value: str | int | UUID | None) -> str | None:
    """Whose stream it is, as text.

    :raises TypeError: If it is none of these.
    :raises ValueError: If it is text that names no user.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, UUID)):
        raise TypeError(
            f"user is text, a whole number, a UUID or None, not {value!r:.80}. Pass what"
            " identifies the user, such as str(user.id)."
        )
    name = str(value)
    if not name:
        raise ValueError("user is empty. Pass None for a stream that is no user's.")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"The user {name[:80]!r} holds a lone surrogate.") from None
    return name


def _refuse(request: Request) -> t.NoReturn:
    if _channels(request):
        raise Forbidden("You may listen to none of these channels.")
    raise BadChannels("A stream needs at least one channel.")
