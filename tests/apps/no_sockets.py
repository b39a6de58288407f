"""Servers that give no sockets away."""

from __future__ import annotations

import io
import typing as t

from flask import Flask


def hide_sockets(app: Flask) -> None:
    """Hide from the app where its server has the socket of the client."""
    inner = app.wsgi_app

    def without_socket(environ: dict[str, t.Any], start_response: t.Any) -> t.Any:
        environ.pop("gunicorn.socket", None)
        environ["wsgi.input"] = io.BytesIO()
        return inner(environ, start_response)

    app.wsgi_app = without_socket  # type: ignore[method-assign]
