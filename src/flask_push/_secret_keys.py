"""The keys of an app, with which it signs what browsers keep."""

from __future__ import annotations

import typing as t

from flask import Flask


def secret_keys(app: Flask) -> list[t.Any]:
    """All of them, the newest first. Empty if the app has no ``SECRET_KEY``.

    :raises RuntimeError: If the old keys are not a list.
    """
    if not app.secret_key:
        return []
    old = app.config.get("SECRET_KEY_FALLBACKS") or []
    if isinstance(old, str | bytes):
        # Each character would be a key, and anyone could sign with it.
        raise RuntimeError(
            "SECRET_KEY_FALLBACKS is a list of keys, not a key. Write"
            " SECRET_KEY_FALLBACKS = [old_key]."
        )
    return [key for key in (app.secret_key, *old) if key]
