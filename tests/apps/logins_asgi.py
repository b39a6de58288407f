"""The app of logins on ASGI, with eight threads."""

from __future__ import annotations

from apps.logins import app
from flask_push.asgi import PushASGI

asgi = PushASGI(app, threads=8)
