"""What an app publishes, as a list."""

from __future__ import annotations

import collections.abc as cabc
import contextlib

from .._event import Event
from ._seam import Publishes
from ._seam import seam_of


@contextlib.contextmanager
def captured(push: Publishes) -> cabc.Iterator[list[Event]]:
    """All that is published in a ``with`` block, on any channel and in any thread, in the
    order in which it is stored. It is stored and sent as usual.

    An item that is set is an event with an ``item``, and one that is unset has the type
    ``push:unset``. Changes that were refused, or changed nothing, are not in the list.
    Neither are the events of runs and of other processes.

    :param push: A :class:`.Push`, of which the app is meant that is current when the block
        begins; or a :class:`.Publisher`.
    """
    events: list[Event] = []
    with seam_of(push) as seam:
        seam.lists.append(events)
        try:
            yield events
        finally:
            # By what it is: lists that have the same events equal each other.
            seam.lists[:] = [each for each in seam.lists if each is not events]
