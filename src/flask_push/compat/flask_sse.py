"""The calls of Flask-SSE, for apps that were written for it.

See the page *From Flask-SSE*.
"""

from __future__ import annotations

import collections.abc as cabc
import json
import typing as t
import warnings

from flask import Blueprint
from flask import current_app
from flask import Flask
from flask import request
from flask import Response

from .. import sse as _sse
from .._event import GAP
from .._extension import Push

__all__ = ["Message", "ServerSentEventsBlueprint", "sse"]

#: Every page may ask this blueprint for any channel, if the app has no guard. So it has
#: channels of its own, and leads to no other channel of the app.
_PREFIX = "sse:"
# Of an app, the Redis that its Push uses because Flask-SSE would.
_REDIS = "flask_push.compat.flask_sse"


class Message:
    """What :meth:`ServerSentEventsBlueprint.messages` returns.

    :param data: Text, or anything that can be made JSON.
    :param type: The type, or ``None``.
    :param id: The id, or ``None``.
    :param retry: Milliseconds after which a browser reconnects, or ``None``.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self,
        data: t.Any,
        type: str | None = None,
        id: str | None = None,
        retry: int | None = None,
    ) -> None:
        self.data, self.type, self.id, self.retry = data, type, id, retry

    def to_dict(self) -> dict[str, t.Any]:
        """The data, and what else is not empty."""
        more = {"type": self.type, "id": self.id, "retry": self.retry}
        return {"data": self.data} | {name: value for name, value in more.items() if value}

    def __str__(self) -> str:
        """The event as a stream has it."""
        text = self.data if isinstance(self.data, str) else json.dumps(self.data)
        id = str(self.id) if self.id else None
        type = self.type or "message"
        return _sse.encode(text, type=type, id=id, retry=self.retry or None).decode()

    def __repr__(self) -> str:
        data, *more = self.to_dict().items()
        words = "".join(f", {name}={value!r}" for name, value in more)
        return f"Message({data[1]!r}{words})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and vars(self) == vars(other)


class ServerSentEventsBlueprint(Blueprint):
    """A blueprint with the calls of Flask-SSE.

    When it is registered, it uses the Push of the app. If the app has none, it makes one,
    for the Redis of ``SSE_REDIS_URL`` or ``REDIS_URL`` if one of them is set.
    """

    def register(self, app: Flask, options: dict[str, t.Any]) -> None:  # type: ignore[override]
        """Called by ``app.register_blueprint``.

        :raises RuntimeError: If the app has a Push that does not use its Redis.
        """
        if _REDIS not in app.extensions:
            app.extensions[_REDIS] = _prepare(app)
        super().register(app, options)

    def publish(
        self,
        data: t.Any,
        type: str | None = None,
        id: str | None = None,
        retry: int | None = None,
        channel: str = "sse",
    ) -> str:
        """Publish an event. It needs an app context.

        :param data: Text is sent as it is, anything else as JSON.
        :param type: The event's type.
        :param id: Not sent: see the page *From Flask-SSE*.
        :param retry: Not sent: ``PUSH_RETRY`` is for all streams.
        :param channel: Only pages that ask for this channel receive it.
        :return: The event's id.
        :raises ValueError: If the event can't be sent to browsers.
        :raises TypeError: If the data can't be made JSON.
        :raises NotPublished: If nothing was stored.
        :raises PublishUncertain: If it may have been stored or not.
        """
        if id is not None:
            warnings.warn(
                "sse.publish does not send the id=: with the ids of Flask-Push, browsers"
                " get what they missed. Put yours into the data.",
                stacklevel=2,
            )
        if retry is not None:
            warnings.warn(
                "sse.publish does not send the retry=. Set PUSH_RETRY, in seconds, for all"
                " streams.",
                stacklevel=2,
            )
        return _push().publish(_PREFIX + channel, data, type=type or "message")

    def messages(self, channel: str = "sse") -> cabc.Iterator[Message]:
        """What is published on a channel from now on. It needs an app context.

        If something is missing, a message of the type ``push:gap`` comes first.
        """
        with _push().listen(_PREFIX + channel) as listener:
            for event in listener:
                # Flask-SSE has no items, and so none of their events.
                if event.type == GAP or not event.type.startswith("push:"):
                    type = None if event.type == "message" else event.type
                    yield Message(_loaded(event.data), type)

    def stream(self) -> Response:
        """The view: a stream of the channel that the request names, or of ``sse``."""
        return _push().stream(_PREFIX + (request.args.get("channel") or "sse"))

    @property
    def redis(self) -> t.NoReturn:
        """Flask-SSE had its connection here."""
        raise AttributeError(
            "This blueprint has no Redis connection. Make one with redis-py:"
            " redis.Redis.from_url(app.config['REDIS_URL'])."
        )


#: The blueprint, for an app that needs no other. Its view has the endpoint ``sse.stream``.
sse = ServerSentEventsBlueprint("sse", __name__)
sse.add_url_rule(rule="", endpoint="stream", view_func=sse.stream)


def _prepare(app: Flask) -> str | None:
    """Give the app a Push, if it has none.

    :return: The Redis that the configuration names for Flask-SSE; ``None`` if it does not
        matter, because ``PUSH_BROKER_URL`` is set.
    """
    if app.config.get("PUSH_BROKER_URL") is not None:
        url = None
    elif (url := _redis_url(app)) and "push" in app.extensions:
        raise RuntimeError(
            "The Push of this app does not use the Redis of REDIS_URL or SSE_REDIS_URL. Set"
            " PUSH_BROKER_URL to the same URL, or to 'sqlite:' if all processes of the app"
            " are on one machine."
        )
    elif url:
        app.config["PUSH_BROKER_URL"] = url
    if "push" not in app.extensions:
        try:
            Push(app)
        except ValueError as error:
            if url and str(error).startswith("PUSH_BROKER_URL"):
                # The app has set another key than that which the error names.
                raise ValueError(f"REDIS_URL, as {error}") from None
            raise
    return url


def _redis_url(app: Flask) -> str:
    return app.config.get("SSE_REDIS_URL") or app.config.get("REDIS_URL") or ""


def _push() -> Push:
    """The Push of the current app.

    :raises RuntimeError: If the blueprint was not registered, or before its Redis was set.
    """
    if _REDIS not in current_app.extensions:
        raise RuntimeError(
            f"The app {current_app.name!r} lacks the blueprint. Call"
            " 'app.register_blueprint(sse, url_prefix=…)' when it is made."
        )
    url = current_app.extensions[_REDIS]
    if url is not None and url != _redis_url(current_app):
        raise RuntimeError(
            "REDIS_URL or SSE_REDIS_URL was changed after the blueprint was registered. Set"
            " it before 'app.register_blueprint(sse)'."
        )
    push: Push = current_app.extensions["push"]
    return push


def _loaded(text: str) -> t.Any:
    """What was published, as far as the text shows it: an object and a list were JSON."""
    if text.startswith(("{", "[")):
        try:
            return json.loads(text)
        except (RecursionError, ValueError):
            pass
    return text
