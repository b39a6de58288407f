"""What ``disconnect`` stores: whose streams every hub has to end."""

from __future__ import annotations

import json
import typing as t

from .known import known

# Those fields that say which streams are meant.
_SELECTORS = ("user", "session", "channel")


class Disconnect(t.NamedTuple):
    """Names streams by selectors, of which at least one is given. A stream is meant if it
    matches all of them."""

    user: str | None = None
    session: str | None = None
    #: One that the stream carries or watches, or on which it shows its user.
    channel: str | None = None
    #: For the browser.
    reason: str = ""

    def to_bytes(self) -> bytes:
        values = {name: value for name, value in self._asdict().items() if value}
        return json.dumps(values, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Disconnect:
        """Read one, of any version. A selector that this version does not know is ignored:
        then more streams end, and never fewer.

        :raises ValueError: If it can't be read, or has no selector that is known.
        """
        try:
            values = json.loads(data)
        except RecursionError as error:
            raise ValueError(f"it is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(f"it is {type(values).__name__}")
        read = cls(**known(cls, values))
        if not any(read[:3]):
            raise ValueError(f"it has none of {', '.join(_SELECTORS)}")
        for name, value in read._asdict().items():
            if not isinstance(value, str) and not (value is None and name in _SELECTORS):
                raise ValueError(f"{name!r} is {value!r}")
        # A lone surrogate can't be sent.
        return read._replace(reason=read.reason.encode(errors="replace").decode())
