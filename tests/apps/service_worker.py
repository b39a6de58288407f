"""The app of the tests, with service workers that answer for its pages."""

from __future__ import annotations

import re
from pathlib import Path

from flask import Response

from .basic import app

__all__ = ["app"]

_PAGE = Path(__file__).parents[2] / "docs" / "doctor.md"
_CLAIM = "self.onactivate = (event) => event.waitUntil(clients.claim())\n"
_PASSES = "self.onfetch = (event) => event.respondWith(fetch(event.request))\n"
# That of the page *The doctor*.
_CURED = re.findall(r"^ *```js\n(.*?)^ *```$", _PAGE.read_text(), re.M | re.S)[1]
WORKERS = {"passes": _PASSES, "cured": _CURED}


@app.get("/worker/<name>.js")
def worker(name: str) -> Response:
    response = Response(_CLAIM + WORKERS[name], mimetype="text/javascript")
    response.headers["Service-Worker-Allowed"] = "/"
    return response
