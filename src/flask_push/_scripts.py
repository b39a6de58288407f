"""The browser's half, as the app serves it: modules, and the same as classic scripts."""

from __future__ import annotations

import hashlib
import re
import typing as t
from functools import cache
from pathlib import Path

from flask import Blueprint
from flask import Flask
from flask import request
from flask import Response
from flask import url_for
from werkzeug.exceptions import NotFound

_STATIC = Path(__file__).with_name("static")
_YEAR = 365 * 86400
#: What is served, and where it lies. What is minified, `make scripts` makes.
SCRIPTS = {
    **{name: name for name in ("push.d.ts", "extras.d.ts")},
    **{f"{name}.js": f"min/{name}.js" for name in ("push", "extras")},
    **{f"{name}.classic.js": f"min/{name}.classic.js" for name in ("push", "extras")},
}
_TYPES = {".js": "text/javascript", ".ts": "text/plain"}


class Script(t.NamedTuple):
    text: str
    type: str


@cache
def version() -> str:
    """Another one whenever a script is. They import each other, so it is that of all."""
    texts = "\0".join((_STATIC / path).read_text() for path in SCRIPTS.values())
    return hashlib.sha256(texts.encode()).hexdigest()[:8]


@cache
def script(name: str) -> Script:
    text = (_STATIC / SCRIPTS[name]).read_text()
    if name.endswith(".js"):
        # What may be kept for ever asks for what may.
        text = re.sub(r'"(\./\w+\.js)"', rf'"\1?v={version()}"', text)
    return Script(text, _TYPES[Path(name).suffix])


def script_url(name: str = "push.js") -> str:
    """The address of ``push.js``, or of the script of that name, for a page: it is another
    one whenever the script is, so that browsers may keep it for ever."""
    return url_for("flask_push.script", name=name, v=version())


def serve_scripts(app: Flask, prefix: str) -> None:
    if "flask_push" in app.blueprints:
        return
    blueprint = Blueprint("flask_push", __name__, url_prefix=prefix)
    blueprint.add_url_rule("/<name>", "script", _serve)
    app.register_blueprint(blueprint)
    app.jinja_env.globals.setdefault("push_script_url", script_url)


def _serve(name: str) -> Response:
    if name not in SCRIPTS:
        raise NotFound
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
