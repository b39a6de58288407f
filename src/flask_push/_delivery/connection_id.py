"""The id of a connection, which its browser keeps when it reconnects.

It is a public part, a dot and a secret. The public part is a hash of the secret. So the
public part may stand in a URL, which proxies log, and only a program that has the secret
can exclude the connection from an event.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets

_NAME = re.compile(r"[0-9A-Za-z_-]{16}")


def new_connection_id(asked: str = "") -> str:
    """A new id, or the public part that the browser sends, if it has the right form."""
    if _NAME.fullmatch(asked):
        return asked
    secret = _text(secrets.token_bytes(12))
    return f"{_public_id(secret)}.{secret}"


def public_id_of(connection: str | None) -> str:
    """The public part, if the secret belongs to it; otherwise an empty string."""
    name, _, secret = (connection or "").partition(".")
    return name if secret and name == _public_id(secret) else ""


def _public_id(secret: str) -> str:
    digest = hashlib.sha256(secret.encode(errors="replace")).digest()
    return _text(digest[:12])


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()
