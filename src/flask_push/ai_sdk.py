"""The events of a run that the AI SDK, such as its ``useChat``, reads as a message.

See the page *AI clients*.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from ._pieces import pieces_of

__all__ = ["text"]

_PART = "text"


def text(source: cabc.Iterable[str], *, message_id: str) -> cabc.Iterator[dict[str, t.Any]]:
    """A message that consists of text, for :meth:`.Run.write_all` and the wire ``ai-sdk``.

    :param source: The pieces of the text. It is closed if the iterator is closed.
    :param message_id: The id of the message, which has to be the same when a browser
        resumes: that of the run. Otherwise it becomes a second message.
    """
    yield {"type": "start", "messageId": message_id}
    yield {"type": "text-start", "id": _PART}
    for piece in pieces_of(source):
        yield {"type": "text-delta", "id": _PART, "delta": piece}
    yield {"type": "text-end", "id": _PART}
    yield {"type": "finish", "finishReason": "stop"}
