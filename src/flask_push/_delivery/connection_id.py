"""What a connection is called, which its browser keeps when it comes back.

It is a name, a dot and a secret. The name is made of the secret, and not the other way
round: so the name may stand in an address, which others log, and only who has the secret
can keep events from that connection.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets

_NAME = re.compile(r"[0-9A-Za-z_-]{16}")


def call(asked: str = "") -> str:
    """What to call a connection: another name and its secret, or the name that it says
    it has, if that can be one."""
    if _NAME.fullmatch(asked):
        return asked
    secret = secrets.token_urlsafe(12)
    return f"{_name(secret)}.{secret}"


def name_of(connection: str | None) -> str:
    """The name, if the secret is there and its own; else an empty string."""
    name, _, secret = (connection or "").partition(".")
    return name if secret and name == _name(secret) else ""


def _name(secret: str) -> str:
    digest = hashlib.sha256(secret.encode(errors="replace")).digest()
    return base64.urlsafe_b64encode(digest[:12]).decode()
