"""What the request for a stream asks for, and what a view may grant it."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from flask import Request
from werkzeug.exceptions import BadRequest
from werkzeug.exceptions import Forbidden

from ._checks import check_count
from ._checks import check_every
from ._config import Config
from ._config import KEYS
from ._delivery.connection_id import new_connection_id
from ._delivery.last_event_id import holds_of
from ._delivery.last_event_id import position_of
from ._delivery.stream import Stream
from ._event import Name
from ._names import check_channel
from ._names import name_of
from ._names import plain
from ._state import Services


class BadChannels(BadRequest, ValueError):
    """The view granted no channel, or one that can't exist. For the browser this is the
    status 400; it is also a ``ValueError``, because a view that names its channels itself
    has made a mistake."""


class Grant(t.NamedTuple):
    """What a view grants: the arguments of :meth:`.Push.stream`."""

    channels: tuple[str, ...]
    last: int
    user: Name | None
    session: Name | None
    lifetime: float | None
    replay: bool
    every: float

    def stream(self, config: Config, request: Request | None = None) -> Stream:
        """The stream, without what only a request says.

        :param request: That which asks for it.
        :raises ValueError: If there can't be such a stream.
        :raises TypeError: If an argument has the wrong type.
        """
        last = check_count("last", self.last)
        every = check_every(self.every)
        if not isinstance(self.replay, bool):
            raise TypeError(f"replay is True or False, not {self.replay!r:.80}.")
        _check(request, self.channels, config.max_channels, self.lifetime)
        return Stream(
            channels=tuple(dict.fromkeys(map(plain, self.channels))),
            connection="",
            last=last if self.replay else 0,
            user=None if self.user is None else name_of("user", self.user),
            lifetime=config.lifetime if self.lifetime is None else self.lifetime,
            session="" if self.session is None else name_of("session", self.session),
            every=every,
        )


def asked(stream: Stream, replay: bool, request: Request, services: Services) -> Stream:
    """The stream that the request asks for, as far as it is granted."""
    # Most of these parameters are missing, and a missing one costs Werkzeug's get() an
    # exception.
    words = request.args.to_dict() if request.query_string else {}
    last_id = request.environ.get("HTTP_LAST_EVENT_ID", "")
    sent = position = position_of(last_id, words.get) if replay else ""
    if services.testing and not position and not stream.last:
        # So that a test may publish as soon as it has the response.
        position = str(services.publisher.position())
    poll = words.get("poll") == "1"
    limits_addresses = services.config.max_streams_per_address
    return stream._replace(
        # A browser that reconnects sends the id that it had.
        connection=new_connection_id(words.get("connection", "")),
        position=position,
        address=request.remote_addr if limits_addresses else None,
        poll=poll,
        visible=words.get("visible") == "1",
        items=words.get("items") == "1",
        # The page has the items as they were at its position, and may lack what has
        # changed since.
        holds=holds_of(words.get) if sent else "",
        # A poll ends as soon as it has all events.
        every=0 if poll else stream.every,
    )


def channels(request: Request, most: int) -> tuple[str, ...]:
    """The channels that the request asks for, each once.

    :raises BadRequest: If a stream can't have these channels.
    """
    asked = tuple(dict.fromkeys(_channels(request)))
    if len(asked) > most:
        raise BadRequest(f"{len(asked):,} channels are more than one stream may have.")
    for channel in asked:
        try:
            check_channel(channel)
        except ValueError as error:
            raise BadRequest(str(error)) from None
    return asked


def _channels(request: Request) -> list[str]:
    """The channels in the address, and in the body of a POST, which may have more."""
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


def _check(
    request: Request | None,
    granted: cabc.Collection[str],
    most: int,
    lifetime: float | None,
) -> None:
    """Check what the view grants.

    :raises ValueError: If there can't be such a stream.
    :raises TypeError: If a channel is not text.
    """
    if not granted:
        _refuse(request)
    if len(granted) > most:
        of_request = request and len(request.args.getlist("channel")) > most
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
            check_channel(channel)
        except ValueError as error:
            # The view may have made the name from the request. Then the request is bad, and
            # not the app.
            raise BadChannels(str(error)) from None
    if lifetime is not None and (problem := KEYS["PUSH_LIFETIME"](lifetime)):
        raise ValueError(f"lifetime = {lifetime!r}: {problem} 0 means never.")


def _refuse(request: Request | None) -> t.NoReturn:
    if request and _channels(request):
        raise Forbidden("You may listen to none of these channels.")
    raise BadChannels("A stream needs at least one channel.")
