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
#: What is served, and what it is made of.
SCRIPTS = {
    **{name: name for name in ("push.js", "push.d.ts", "extras.js", "extras.d.ts")},
    **{f"{name}.classic.js": f"{name}.js" for name in ("push", "extras")},
}
_TYPES = {".js": "text/javascript", ".ts": "text/plain"}


class Script(t.NamedTuple):
    text: str
    type: str
    #: Another one whenever the text is.
    version: str


@cache
def script(name: str) -> Script:
    text = (_STATIC / SCRIPTS[name]).read_text()
    if name.endswith(".js"):
        # A tenth of the bytes are comments. What is left stays on its line.
        text = re.sub(r"^ *(//|/\*\*).*$", "", text, flags=re.M)
    if name.endswith(".classic.js"):
        text = _classic(text)
    elif name == "extras.js":
        # What may be kept for ever asks for what may.
        text = text.replace("./push.js", f"./push.js?v={script('push.js').version}")
    version = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Script(text, _TYPES[Path(name).suffix], version)


def _classic(text: str) -> str:
    """For pages that have no modules: what a module exports is ``FlaskPush``'s."""
    here = "(globalThis.document ? document.currentScript : location)"
    text = text.replace("import.meta.url", f"{here}[globalThis.document ? 'src' : 'href']")
    text = text.replace(', { type: "module", name: "flask-push 1" }', ', "flask-push 1"')
    text = re.sub(
        r'^import (.*) from "\./push\.js";$', r"const \1 = FlaskPush;", text, flags=re.M
    )
    exported = ", ".join(re.findall(r"^export (?:class|const) (\w+)", text, re.M))
    text = re.sub(r"^export (class|const) |^export \{.*$", r"\1 ", text, flags=re.M)
    inner = f"(() => {{\n{text}return {{ {exported} }};\n}})()"
    return f"var FlaskPush = {{ ...globalThis.FlaskPush, ...{inner} }};\n"


def script_url(name: str = "push.js") -> str:
    """The address of ``push.js``, or of the script of that name, for a page: it is another
    one whenever the script is, so that browsers may keep it for ever."""
    return url_for("flask_push.script", name=name, v=script(name).version)


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
    text, type, version = script(name)
    response = Response(text, content_type=f"{type}; charset=utf-8")
    response.cache_control.public = True
    if request.args.get("v") == version:
        response.cache_control.max_age = _YEAR
        response.cache_control.immutable = True
    else:
        response.cache_control.no_cache = True
    response.set_etag(version)
    response.make_conditional(request)
    return response
