"""Serves the scripts for browsers, as modules and as classic scripts."""

from __future__ import annotations

import hashlib
import re
import typing as t
from functools import cache
from importlib import resources
from pathlib import Path

from flask import Blueprint
from flask import current_app
from flask import Flask
from flask import has_request_context
from flask import request
from flask import Response
from flask import url_for

# Not a path, because the package may be in a zip file.
_STATIC = resources.files(__package__ or "") / "static"
_YEAR = 365 * 86400
# The variable of a rule that stands for any host, if the app's routes have hosts.
_HOST = "flask_push_host"
_NAMES = (
    "push",
    "extras",
    "items",
    "presence",
    "element",
    "juggernaut",
    "follow",
    "signed",
)
#: The name of each script, and its file. `make scripts` makes the minified files.
SCRIPTS = {
    **{f"{name}.d.ts": f"{name}.d.ts" for name in _NAMES},
    **{f"{name}.js": f"min/{name}.js" for name in _NAMES},
    **{f"{name}.classic.js": f"min/{name}.classic.js" for name in _NAMES},
}
_TYPES = {".js": "text/javascript", ".ts": "text/plain"}


class Script(t.NamedTuple):
    text: str
    type: str


@cache
def version() -> str:
    """One version for all scripts, because they import each other. It changes with each
    change of a script."""
    texts = "\0".join(read(path) for path in SCRIPTS.values())
    return hashlib.sha256(texts.encode()).hexdigest()[:8]


@cache
def script(name: str) -> Script:
    text = read(SCRIPTS[name])
    if name.endswith(".js"):
        # A script that browsers cache for ever has to import the same version.
        text = re.sub(r'"(\./\w+\.js)"', rf'"\1?v={version()}"', text)
    return Script(text, _TYPES[Path(name).suffix])


def read(path: str) -> str:
    """A file of the package."""
    return (_STATIC / path).read_text(encoding="utf-8")


def script_url(name: str = "push.js") -> str:
    """The address of a script, for a page. It changes when the script changes, so that
    browsers may cache it for ever.

    :raises ValueError: If there is no such script.
    """
    if name not in SCRIPTS:
        raise ValueError(f"{name!r} is none of the scripts {', '.join(SCRIPTS)}.")
    values: t.Any = {"name": name, "v": version(), **here(current_app)}
    return url_for("flask_push.script", **values)


def serve_scripts(app: Flask, prefix: str) -> None:
    """Serve each script below the prefix. The app may use all other addresses there."""
    if "flask_push" in app.blueprints:
        return
    blueprint = Blueprint("flask_push", __name__, url_prefix=prefix)
    for name in SCRIPTS:
        for place in places(app):
            options: t.Any = {"defaults": {"name": name}, **place}
            blueprint.add_url_rule(f"/{name}", "script", serve, **options)
    app.register_blueprint(blueprint)
    app.jinja_env.globals.setdefault("push_script_url", script_url)


def places(app: Flask) -> list[dict[str, str]]:
    """Options of rules that match each host on which the app may have routes."""
    if app.url_map.host_matching:
        return [{"host": f"<{_HOST}>"}]
    return [{}, {"subdomain": f"<{_HOST}>"}] if app.subdomain_matching else [{}]


def here(app: Flask) -> dict[str, str]:
    """The host of the page, so that it loads scripts from its own origin."""
    server = app.config["SERVER_NAME"] or ""
    host = request.host if has_request_context() else server
    if app.url_map.host_matching:
        return {_HOST: host}
    if app.subdomain_matching and server and host.endswith(f".{server}"):
        return {_HOST: host.removesuffix(f".{server}")}
    return {}


def serve(name: str, **host: str) -> Response:
    """The view of a script."""
    text, type = script(name)
    response = Response(text, content_type=f"{type}; charset=utf-8")
    response.cache_control.public = True
    if request.args.get("v") == version():
        response.cache_control.max_age = _YEAR
        response.cache_control.immutable = True
    else:
        response.cache_control.no_cache = True
    response.set_etag(version())
    response.make_conditional(request)
    return response
