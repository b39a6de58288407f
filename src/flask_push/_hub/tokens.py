"""The tokens with which nginx asks the hub for streams.

A token is random, and is valid for one connection and a few seconds, so a process that can
open the hub's socket for nginx can't guess one.
"""

from __future__ import annotations

import time
from pathlib import Path

from .._delivery.stream import Stream
from .._system import unpatched
from .._system.logs import QuietLogger

#: Seconds for which a token is valid. Nginx connects at once.
TOKEN_SECONDS = 10.0
#: Tokens at once.
MOST = 1000
# Seconds after which a token is dropped when there are too many. Nginx does not connect
# for a browser that has left, and any number of browsers may leave.
_CROWDED_SECONDS = 1.0


class Tokens:
    """The streams for which nginx has not connected yet. From any thread.

    :param path: Where nginx connects, for the log.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._quiet = QuietLogger()
        # Each with the time when it was made, the oldest first.
        self._streams: dict[str, tuple[float, Stream]] = {}
        self._lock = unpatched.free_lock()
        self._redeemed = False

    def __len__(self) -> int:
        return len(self._streams)

    def expect(self, token: str, stream: Stream) -> None:
        """Accept a token that :func:`.new_token` made.

        :raises RuntimeError: If there are too many.
        """
        now = time.monotonic()
        with self._lock:
            self._drop_older(now - TOKEN_SECONDS)
            if len(self._streams) >= MOST:
                self._drop_older(now - _CROWDED_SECONDS)
            if len(self._streams) >= MOST:
                raise RuntimeError(f"nginx has not connected for {MOST} streams.")
            self._streams[token] = (now, stream)

    def redeem(self, token: str) -> Stream | None:
        """The token's stream. A second time, there is none."""
        with self._lock:
            given, stream = self._streams.pop(token, (0.0, None))
            if stream is None or given < time.monotonic() - TOKEN_SECONDS:
                return None
            self._redeemed = True
            return stream

    def _drop_older(self, before: float) -> None:
        count = 0
        for token, (given, _) in list(self._streams.items()):
            if given >= before:
                break
            del self._streams[token]
            count += 1
        if count and not self._redeemed:
            self._quiet.warning(
                "nginx did not connect for %d streams. Check that it has the internal"
                " location of PUSH_ACCEL, and that it may connect to %s.",
                count,
                self._path,
            )
