"""The admin page: live figures of all hubs, lists of this machine, and ending streams.

The app's guard is asked before each request below the prefix, also for scripts and for the
page's own stream. Other sites can't send what ends streams: see :func:`_check_origin`.
"""

from __future__ import annotations

import collections.abc as cabc
import hashlib
import logging
import re
import typing as t
from functools import cache

from flask import abort
from flask import Blueprint
from flask import current_app
from flask import Flask
from flask import Request
from flask import request
from flask import Response
from werkzeug.wrappers import Response as BaseResponse

from . import _request
from . import _scripts
from ._admin_lists import Hub
from ._admin_lists import hubs_of
from ._admin_lists import Lists
from ._app_hub import files_of
from ._arrival import Arrival
from ._delivery.figure_rows import FIGURES_OF_HUBS
from ._delivery.stream import Stream
from ._response import respond
from ._state import Services
from .brokers import NotPublished
from .brokers import PublishUncertain

logger = logging.getLogger("flask_push")

#: Returns whether the request may see the page, or the response that it gets instead.
Guard: t.TypeAlias = cabc.Callable[[], t.Any]

_BLUEPRINT = "flask_push_admin"
# A page has to be allowed to send this header to another site, so only this one does.
_HEADER = "X-Push-Admin"
# Seconds after which the guard is asked again for the page's stream.
_LIFETIME = 300
_FILES = {"admin.js": "text/javascript", "admin.css": "text/css"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " img-src 'self' data:; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    # Flask-WTF refuses a request over TLS that has no Referer.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class HasApps(t.Protocol):
    """What the page needs of :class:`.Push`."""

    def _services_of(self, app: Flask) -> Services: ...

    def _arrival(self, app: Flask) -> Arrival: ...


def serve_admin(app: Flask, prefix: str, guard: Guard | None, push: HasApps) -> None:
    """
    :raises RuntimeError: If there is no guard.
    :raises TypeError: If it is no function.
    """
    if guard is None:
        raise RuntimeError(
            f"PUSH_ADMIN_URL_PREFIX is {prefix!r}, and nothing says who may see the admin"
            " page. Pass a function: Push(app, admin=is_admin). It returns True for a"
            " request that may, and False for any other."
        )
    if not callable(guard):
        raise TypeError(f"admin is a function, not {guard!r:.80}.")
    if _BLUEPRINT in app.blueprints:
        return
    blueprint = Blueprint(_BLUEPRINT, __name__, url_prefix=prefix)
    blueprint.before_request(lambda: _ask(guard))
    blueprint.after_request(_add_headers)
    views: dict[str, t.Any] = {"": _page, **dict.fromkeys(_FILES, _file)}
    views |= dict.fromkeys(filter(_is_module, _scripts.SCRIPTS), _script)
    pages = _Pages(push)
    for place in _scripts.places(app):
        options: t.Any = place
        for name, view in views.items():
            defaults: t.Any = {"defaults": {"name": name}} if name else {}
            end = view.__name__.lstrip("_")
            blueprint.add_url_rule(f"/{name}", end, view, **defaults, **options)
        blueprint.add_url_rule("/stream", "stream", pages.stream, **options)
        blueprint.add_url_rule("/lists", "lists", pages.lists, **options)
        blueprint.add_url_rule(
            *("/disconnect", "disconnect", pages.disconnect), methods=["POST"], **options
        )
    app.register_blueprint(blueprint)


def _ask(guard: Guard) -> BaseResponse | None:
    answer = current_app.ensure_sync(guard)()
    if answer is True:
        return None
    if isinstance(answer, BaseResponse):
        return answer
    if answer is False or answer is None:
        abort(404)
    # A page as text, or a coroutine, is true as well.
    raise TypeError(
        f"The function admin= of Push returned {answer!r:.80}. It has to return True,"
        " False, or a response."
    )


def _add_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


# What needs nothing of the app.


def _is_module(name: str) -> bool:
    return name.endswith(".js") and not name.endswith(".classic.js")


def _page(**host: str) -> Response:
    text = _read("admin.html").replace("?v=", f"?v={_version()}")
    # For an app that protects all its forms, as Flask-WTF does.
    token = current_app.jinja_env.globals.get("csrf_token")
    if callable(token):
        text = text.replace('content=""', f'content="{_attribute(str(token()))}"')
    return Response(text, mimetype="text/html")


def _file(name: str, **host: str) -> Response:
    text = re.sub(r'"(\./\w+\.js)"', rf'"\1?v={_scripts.version()}"', _read(name))
    response = Response(text, mimetype=_FILES[name])
    response.headers["Cache-Control"] = "no-cache"
    response.set_etag(_version())
    response.make_conditional(request)
    return response


def _script(name: str, **host: str) -> Response:
    return _scripts.serve(name)


@cache
def _version() -> str:
    texts = "\0".join(map(_read, (*_FILES, "admin.html")))
    return hashlib.sha256(texts.encode()).hexdigest()[:8]


@cache
def _read(name: str) -> str:
    return _scripts.read(f"admin/{name}")


def _attribute(text: str) -> str:
    return re.sub(r"[^\w.-]", lambda match: f"&#{ord(match[0])};", text)


class _Pages:
    """The views that need the app's store and hubs."""

    def __init__(self, push: HasApps) -> None:
        self._push = push

    def stream(self, **host: str) -> Response:
        """The figures of all hubs, as items of a channel that no view can grant."""
        app = _app()
        services = self._push._services_of(app)
        stream = Stream((FIGURES_OF_HUBS,), "", lifetime=_LIFETIME, session="")
        asked: Request = request._get_current_object()  # type: ignore[attr-defined]
        stream = _request.asked(stream, True, asked, services)
        stream = self._push._arrival(app).add_seen(stream, asked, services)
        # A ticket would pass by the guard.
        return respond(app.response_class, services, stream, False)

    def lists(self, **host: str) -> dict[str, t.Any]:
        services = self._push._services_of(_app())
        asked = {name: request.args.get(name) or None for name in ("user", "channel")}
        lists = Lists(self._hubs(services))
        return {
            **lists.streams(**asked),
            "channels": lists.channels(),
            "runs": lists.runs(services),
            "problems": lists.problems,
        }

    def disconnect(self, **host: str) -> tuple[dict[str, str], int]:
        """End the streams of a user, of a channel, or of the session of a stream."""
        _check_origin(request)
        body = request.get_json()
        if not isinstance(body, dict):
            abort(400)
        services = self._push._services_of(_app())
        reason = body.pop("reason", "")
        selected = {k: v for k, v in body.items() if k in ("user", "channel")}
        if "session_of" in body:
            lists = Lists(self._hubs(services))
            session = lists.session_of(str(body["session_of"]))
            if session is None and lists.problems:
                return {"problem": lists.problems[0]}, 503
            if session is None:
                return {"problem": "This stream has ended, or it has no session."}, 410
            selected = {"session": session}
        if len(body) != 1 or not selected:
            return {"problem": "Name one user, one channel, or one stream."}, 400
        try:
            position = services.publisher.disconnect(**selected, reason=reason)
        except (TypeError, ValueError, RuntimeError) as error:
            return {"problem": str(error)}, 400
        except (NotPublished, PublishUncertain) as error:
            return {"problem": str(error)}, 503
        logger.info("The admin page ended all streams of one %s.", *selected)
        return {"position": position}, 200

    def _hubs(self, services: Services) -> list[Hub]:
        return hubs_of(services, files_of(_app(), services.config))


def _app() -> Flask:
    return current_app._get_current_object()  # type: ignore[attr-defined,no-any-return]


def _check_origin(request: Request) -> None:
    """Refuse a request that the admin page has not sent.

    A form of another site can't have the header. Its script can, but only after the browser
    has asked whether it may, and nothing here allows it. An app may allow it for all of its
    addresses, so the origin has to be this one, too: browsers say which it is.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if request.headers.get(_HEADER) != "1":
        abort(403, f"The header {_HEADER} is missing.")
    if site is not None:
        foreign = site != "same-origin"
    else:
        foreign = origin is not None and origin.partition("://")[2] != request.host
    if foreign:
        abort(403, "The request comes from another origin.")
