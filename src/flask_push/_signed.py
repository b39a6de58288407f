"""Signed addresses of streams: what a view would grant stands in the address.

Whoever has the address gets the stream, until it expires. So it is signed, and nothing
outside of the signature adds to what it grants. The rest of the query is what each request
for a stream may have: a position, and how the client wants to be sent it.

A signature is only good for this purpose and for an app of this name, because the key is
derived from both (the salt).
"""

from __future__ import annotations

import collections.abc as cabc
import hashlib
import math
import time
import typing as t

from flask import Blueprint
from flask import current_app
from flask import Flask
from flask import has_request_context
from flask import Request
from flask import request
from flask import Response
from flask import url_for
from itsdangerous import BadData
from itsdangerous import URLSafeSerializer

from . import _request
from ._app_publisher import MOST_KEPT
from ._arrival import Arrival
from ._checks import check_number
from ._delivery.stream import Stream
from ._delivery.stream_presence import StreamPresence
from ._event import Name
from ._presence_checks import PresenceGrant
from ._response import respond
from ._scripts import here
from ._scripts import places
from ._secret_keys import secret_keys
from ._state import Services

#: The parameter with what is signed. Logs of this package leave out its value.
SIGNED = "signed"
_BLUEPRINT = "flask_push_signed"
# Of what is signed. Other versions are refused.
_VERSION = 1
# Characters of what is signed. Some servers refuse an address of more than 4,000, and a
# page adds to it.
_MOST = 3500
# No cookie is needed, only the address. So each origin that has it may read the stream, and
# nothing is revealed to one that has not.
_ANY_ORIGIN = "Access-Control-Allow-Origin", "*"
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "*",
    # Chromium does not remember it for longer.
    "Access-Control-Max-Age": "7200",
}
_GONE = "This address is not valid, or no longer. Ask the app for another one.\n"
# The fields of a stream that are signed if they are not the default.
_FIELDS = "last", "user", "session", "every", "seen"


class SignsAddresses:
    """What :class:`Push` does with signed addresses."""

    def stream_url(
        self,
        *channels: str,
        expires: float,
        user: Name | None = None,
        session: Name | None = None,
        last: int = 0,
        lifetime: float | None = None,
        replay: bool = True,
        every: float = 0,
        present: cabc.Mapping[str, t.Any] | None = None,
        watch: cabc.Iterable[str] = (),
        counted: cabc.Iterable[str] = (),
        _external: bool = False,
    ) -> str:
        """Return an address of a stream, which needs no view. Whoever has it may listen to
        these channels until it expires. Templates have it as ``push_stream_url``.

        It is served at ``PUSH_STREAM_URL``. All arguments are signed with the
        ``SECRET_KEY``. Those that are not here are as for :meth:`stream`.

        :param expires: Seconds from now, up to 86,400. Then the stream ends too, with
            ``push:expired``.
        :param user: As for :meth:`stream`. :meth:`disconnect` also ends the addresses of
            this user.
        :param session: The same for a session.
        :param _external: Return a whole URL, with the host, for other origins. As for
            ``flask.url_for``.
        :raises RuntimeError: If there is no ``PUSH_STREAM_URL``, or no ``SECRET_KEY``.
        :raises ValueError: If there can't be such a stream, or if its address would be too
            long.
        :raises TypeError: If an argument has the wrong type.
        """
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        services = self._services_of(app)
        ends = time.time() + _check_expires(expires)
        grant = _request.Grant(channels, last, user, session, lifetime, replay, every)
        stream = grant.stream(services.config)
        stream = PresenceGrant(present, watch, counted).grant(stream, services)
        if services.known is not None:
            asked = request if has_request_context() else None
            known = self._arrival(app).known_at(asked)
            if known is None:
                known = services.known.now()
            stream = stream._replace(seen=services.known.seen(known, stream))
        says: dict[str, t.Any] = {"v": _VERSION, "channels": stream.channels}
        says["expires"] = math.ceil(ends)
        says |= {name: value for name in _FIELDS if (value := getattr(stream, name))}
        says |= {} if lifetime is None else {"lifetime": lifetime}
        says |= {} if replay else {"replay": False}
        if any(stream.presence):
            says["presence"] = stream.presence.to_json()
        return _url(app, _serializer(app).dumps(says), _external)

    def _signed_stream(self, app: Flask, request: Request) -> Response:
        """The answer to a request for a signed address."""
        services = self._services_of(app)
        says = _read(app, request.args.get(SIGNED, ""), time.time())
        if says is None:
            return _gone(app)
        stream = _stream_of(says, services)
        if services.known is not None and services.publisher.revoked.names(stream):
            return _gone(app)
        stream = _request.asked(stream, says.get("replay", True), request, services)
        # A return ticket would be a second address of the stream.
        response = respond(app.response_class, services, stream, False)
        response.headers.add(*_ANY_ORIGIN)
        return response

    def _services_of(self, app: Flask) -> Services:
        raise NotImplementedError

    def _arrival(self, app: Flask) -> Arrival:
        raise NotImplementedError


def stream_url(*channels: str, **options: t.Any) -> str:
    """:meth:`.Push.stream_url` of the app that renders a template."""
    url: str = current_app.extensions["push"].stream_url(*channels, **options)
    return url


def serve_addresses(app: Flask, path: str | None) -> None:
    """
    :param path: Where signed addresses are served; ``None`` for nowhere.
    """
    if path is None and not app.config.get("PUSH_URL_PREFIX", True):
        # The app may still set options of Jinja.
        return
    # A template that uses it without a path gets an error that names the key.
    app.jinja_env.globals.setdefault("push_stream_url", stream_url)
    if path is None or _BLUEPRINT in app.blueprints:
        return
    blueprint = Blueprint(_BLUEPRINT, __name__)
    for place in places(app):
        options: t.Any = {"methods": ["GET", "POST", "OPTIONS"], **place}
        blueprint.add_url_rule(
            path, "stream", _serve, provide_automatic_options=False, **options
        )
    app.register_blueprint(blueprint)


def _serve(**host: str) -> Response:
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    if request.method == "OPTIONS":
        return app.response_class(status=204, headers=[_ANY_ORIGIN, *_PREFLIGHT.items()])
    push: SignsAddresses = app.extensions["push"]
    return push._signed_stream(app, request)


def _url(app: Flask, signed: str, external: bool) -> str:
    """
    :raises ValueError: If it would be too long.
    :raises RuntimeError: If it is not served.
    """
    if _BLUEPRINT not in app.blueprints:
        raise RuntimeError(
            "Signed addresses are not served, because PUSH_STREAM_URL is not set. Set it to"
            " a path, such as '/push/stream', before 'push.init_app(app)'."
        )
    if len(signed) > _MOST:
        raise ValueError(
            f"The signed part of the address would have {len(signed):,} characters,"
            f" {_MOST:,} at most, because servers refuse a longer one. Name fewer channels,"
            " or write a view for this stream."
        )
    values: t.Any = {SIGNED: signed, **here(app)}
    return url_for(f"{_BLUEPRINT}.stream", _external=external or None, **values)


def _check_expires(value: float) -> float:
    """
    :raises TypeError: If it is not a number.
    :raises ValueError: If it is not a time that an address may have.
    """
    check_number(value, "expires is the seconds for which the address is valid, as in 300")
    if not 1 <= value <= MOST_KEPT:
        raise ValueError(
            f"expires = {value!r:.80}: from 1 to {MOST_KEPT:,} seconds. The page can get"
            " another address when it has expired."
        )
    return value


def _serializer(app: Flask) -> URLSafeSerializer:
    """
    :raises RuntimeError: If the app has no key, or no list of old ones.
    """
    keys = secret_keys(app)
    if not keys:
        raise RuntimeError(
            "Signed addresses need a SECRET_KEY. Set it to a long random text, the same in"
            " every process."
        )
    return URLSafeSerializer(
        # The newest key is the last one, and signs.
        keys[::-1],
        salt=f"flask-push signed address\0{app.name}",
        signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
    )


def _read(app: Flask, signed: str, now: float) -> dict[str, t.Any] | None:
    """What an address says; ``None`` if it is not valid."""
    if len(signed) > _MOST or not app.secret_key:
        return None
    try:
        says: dict[str, t.Any] = _serializer(app).loads(signed)
    except BadData:
        return None
    return says if says.get("v") == _VERSION and now < says["expires"] else None


def _stream_of(says: dict[str, t.Any], services: Services) -> Stream:
    given = {name: says[name] for name in _FIELDS if name in says}
    # For hubs of an older version, which only know a lifetime.
    left = says["expires"] - time.time()
    lifetime = says.get("lifetime", services.config.lifetime)
    return Stream(
        channels=tuple(says["channels"]),
        connection="",
        lifetime=min(lifetime or left, left),
        presence=StreamPresence.from_json(says.get("presence", {})),
        expires=says["expires"],
        **{"session": "", **given},
    )


def _gone(app: Flask) -> Response:
    # Browsers and caches would keep this answer. It is the same whatever the reason is.
    headers = [_ANY_ORIGIN, ("Cache-Control", "no-store")]
    return app.response_class(_GONE, 410, headers, mimetype="text/plain")
