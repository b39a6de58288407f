"""The events of a run that clients of AG-UI read as a message.

See the page *AI clients*.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from ._pieces import pieces_of

__all__ = ["text"]


def text(
    source: cabc.Iterable[str], *, thread_id: str, run_id: str, message_id: str
) -> cabc.Iterator[dict[str, t.Any]]:
    """A message that consists of text, for :meth:`.Run.write_all` and the wire ``ag-ui``.

    :param source: The pieces of the text. Empty ones are left out, because AG-UI allows
        none. It is closed if the iterator is closed.
    :param thread_id: The ``threadId`` of the request.
    :param run_id: The ``runId`` of the request.
    :param message_id: The id of the message. That of the run is unique.
    """
    run = {"threadId": thread_id, "runId": run_id}
    message = {"messageId": message_id}
    yield {"type": "RUN_STARTED", **run}
    yield {"type": "TEXT_MESSAGE_START", **message, "role": "assistant"}
    for piece in pieces_of(source):
        if piece:
            yield {"type": "TEXT_MESSAGE_CONTENT", **message, "delta": piece}
    yield {"type": "TEXT_MESSAGE_END", **message}
    yield {"type": "RUN_FINISHED", **run}
