"""Random names of processes and hubs, and other random text."""

from __future__ import annotations

import secrets
import string

_LETTERS = string.digits + string.ascii_letters


def random_text(length: int) -> str:
    """Digits and letters."""
    return "".join(secrets.choice(_LETTERS) for _ in range(length))


def new_name() -> str:
    """A name of a process or a hub. No other has it, nor had it."""
    return random_text(12)
