"""How a command asks a hub for its status, and for lists of its streams."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from .files import HubFiles
from .files import SEND_SECONDS
from .kind import Message
from .listing_protocol import ChannelPage
from .listing_protocol import ListChannels
from .listing_protocol import ListStreams
from .listing_protocol import StreamPage
from .messages import Messages
from .protocol import Reader
from .protocol import Status
from .protocol import StatusRequest

# The fields that every hub's status has. Before the first hello, the last two are missing.
_STATUS = {"pid": int, "version": str, "streams": int, "position": str}


class TooOld(ConnectionError):
    """The hub is of a version that does not know the question."""


def status_of(files: HubFiles, seconds: float = SEND_SECONDS) -> dict[str, t.Any]:
    """
    :param seconds: How long the hub may take to accept the connection, and to answer.
    :raises OSError: If no hub answers there.
    """
    found = _ask(files, StatusRequest(), seconds=seconds).get(Status.key)
    if not isinstance(found, dict) or not all(
        isinstance({"streams": 0, "position": "", **found}.get(name), kind)
        for name, kind in _STATUS.items()
    ):
        raise ConnectionError("what answers there is not a hub of Flask-Push")
    return found


def trouble_in(status: cabc.Mapping[str, t.Any]) -> str:
    """Why the hub with this status can't read its store; empty if it can. A hub of an older
    version does not say, and one before its first hello has no store yet."""
    found = str(status.get("store", "ok"))
    return "" if found == "ok" else found


def streams_of(files: HubFiles, asked: ListStreams) -> StreamPage:
    """A page of a hub's streams.

    :raises TooOld: If the hub can't list them.
    :raises OSError: If no hub answers there.
    """
    return _list(files, asked, StreamPage)


def channels_of(files: HubFiles, asked: ListChannels) -> ChannelPage:
    """A page of a hub's channels. Raises as :func:`streams_of`."""
    return _list(files, asked, ChannelPage)


A = t.TypeVar("A", bound=Message)


def _list(files: HubFiles, asked: Message, kind: type[A]) -> A:
    # A hub of an older version ignores the first question, and answers the second.
    answer = _ask(files, asked, StatusRequest())
    if Status.key in answer:
        raise TooOld(
            "it is of an older version, which can't list its streams. 'flask push hub"
            " --replace', or the next start of the app, replaces it"
        )
    try:
        found = Reader("worker").read(answer)
    except (AttributeError, KeyError, TypeError, ValueError):
        found = None
    if not isinstance(found, kind):
        raise ConnectionError("what answers there is not a hub of Flask-Push")
    return found


def _ask(
    files: HubFiles, *questions: Message, seconds: float = SEND_SECONDS
) -> dict[str, t.Any]:
    """The first answer to these questions."""
    messages = Messages(files.connect(seconds))
    try:
        for question in questions[:-1]:
            messages.send(question.to_json())
        return messages.ask(questions[-1].to_json())
    except EOFError:
        raise ConnectionResetError("it closed the connection") from None
    finally:
        messages.close()
