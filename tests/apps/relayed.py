"""The basic app on a server that gives no sockets away."""

from __future__ import annotations

from .basic import app
from .no_sockets import hide_sockets

hide_sockets(app)
