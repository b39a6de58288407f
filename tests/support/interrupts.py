"""Exceptions of the handlers of signals."""

from __future__ import annotations

import collections.abc as cabc
import sys
import types


def interrupted(call: cabc.Callable[[], object], at: int) -> bool:
    """Make a call, and raise an exception where Python may call the handler of a signal
    for the `at`-th time: where a function begins, or one in C returns.

    :return: Whether there were so many such places.
    """
    left = at

    def profile(frame: types.FrameType, event: str, _: object) -> None:
        nonlocal left
        if event in ("call", "c_return") and "/flask_push/" in frame.f_code.co_filename:
            left -= 1
            if left == 0:
                raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False
