"""The basic app on ASGI, in the wrapper that Flask's documentation names."""

from __future__ import annotations

import typing as t

from asgiref.wsgi import WsgiToAsgi

from apps.basic import app

# It has no types.
wrap: t.Any = WsgiToAsgi
asgi = wrap(app)
