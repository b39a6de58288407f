"""Publishing that fails when a test wants it."""

from __future__ import annotations

import collections.abc as cabc
import contextlib

from ..brokers import NotPublished
from ..brokers import PublishUncertain
from ._seam import Failure
from ._seam import Publishes
from ._seam import seam_of


@contextlib.contextmanager
def failing(push: Publishes, error: Failure = NotPublished) -> cabc.Iterator[None]:
    """Let each call in a ``with`` block fail that publishes, sets, unsets or disconnects,
    in any thread. Reading goes on, and so do streams, runs and other processes.

    :param push: As for :func:`captured`.
    :param error: With :exc:`.NotPublished`, nothing is stored. With
        :exc:`.PublishUncertain`, it is stored and sent, and then the call raises.
    """
    if error not in (NotPublished, PublishUncertain):
        raise TypeError(f"error is NotPublished or PublishUncertain, not {error!r:.80}.")
    with seam_of(push) as seam:
        seam.failures.append(error)
        try:
            yield
        finally:
            # The newest that is the same: they are alike.
            index = len(seam.failures) - 1 - seam.failures[::-1].index(error)
            del seam.failures[index]
