"""Checks of ``present``, ``watch`` and ``counted``, before the view answers."""

from __future__ import annotations

import collections.abc as cabc
import json
import typing as t

from ._delivery.stream import Stream
from ._delivery.stream_presence import NOTHING
from ._delivery.stream_presence import StreamPresence
from ._event import escape_item
from ._event import MAX_ITEM
from ._event_checks import Dumps
from ._event_checks import json_text
from ._names import channel_names
from ._names import plain
from ._request import BadChannels
from ._state import Services

#: Bytes of the JSON that is shown of a user. Each page that watches gets that of all users.
MAX_INFO = 1024

# A number such as 1e400, which other libraries write, would become Infinity.
_to_json = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False
).encode


class PresenceGrant(t.NamedTuple):
    """Arguments of :meth:`.Push.stream`."""

    present: cabc.Mapping[str, t.Any] | None
    watch: cabc.Iterable[str]
    counted: cabc.Iterable[str]

    def grant(self, stream: Stream, services: Services) -> Stream:
        """The stream, with what the view grants.

        :raises ValueError: If a stream can't have it.
        :raises TypeError: If an argument has the wrong type.
        :raises RuntimeError: If the broker keeps no items.
        """
        checks, most = services.publisher._checks, services.config.max_channels
        granted = self._checked(stream.user, most, checks.dumps)
        if granted is not NOTHING:
            services.publisher._keeper()
        return stream._replace(presence=granted)

    def _checked(self, user: str | None, most: int, dumps: Dumps) -> StreamPresence:
        """
        :param most: How many channels each of the arguments may name.
        """
        shown = self._shown()
        watch = _names("watch", self.watch, most)
        counted = _names("counted", self.counted, most)
        present = _names("present", shown, most)
        if both := {*present} & {*counted}:
            raise ValueError(
                f"The channel {min(both)!r} is in present and in counted. A user is listed"
                " there, or only counted. Remove it from one of the two."
            )
        if present or counted:
            _check_user("present" if present else "counted", user)
        if present and user is not None:
            _check_shown(user)
        infos = ((plain(name), _info(name, data, dumps)) for name, data in shown.items())
        checked = StreamPresence(tuple(infos), watch, counted)
        return checked if any(checked) else NOTHING

    def _shown(self) -> cabc.Mapping[str, t.Any]:
        if self.present is None:
            return {}
        if not isinstance(self.present, cabc.Mapping):
            raise TypeError(
                "present names channels, each with what is shown of the user there, as in"
                f" present={{'chat': {{'name': 'Ann'}}}}, not {self.present!r:.80}."
            )
        return self.present


def _names(what: str, given: object, most: int) -> tuple[str, ...]:
    try:
        found = channel_names(what, given)
    except ValueError as error:
        # The view may have made the name from the request.
        raise BadChannels(str(error)) from None
    if len(found) > most:
        raise ValueError(
            f"{what} has {len(found):,} channels, more than {most:,} (PUSH_MAX_CHANNELS)."
        )
    return found


def _check_user(what: str, user: str | None) -> None:
    if user is None:
        raise ValueError(
            f"{what} needs a user, who is then present once, with however many streams."
            " Pass what identifies the user, as in user=current_user.id. For a visitor"
            f" without a name, leave {what} out."
        )


def _check_shown(user: str) -> None:
    """
    :raises ValueError: If the user's name can't be sent to those who watch (law 56).
    """
    try:
        escape_item(user)
    except ValueError:
        raise ValueError(
            f"The user {user[:80]!r} can't be present, because the name takes more than"
            f" {MAX_ITEM} bytes of an event's id: letters, digits, '_' and '-' count one,"
            " any other byte three. Pass a shorter name, such as a number or a UUID."
        ) from None


def _info(channel: str, data: t.Any, dumps: Dumps) -> str:
    """The JSON, in one line and without spaces."""
    what = f"present[{channel!r}]"
    try:
        made = json.loads(json_text(data, dumps))
        info = _to_json(made)
        size = len(info.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{what} holds a lone surrogate, which is not text.") from None
    except ValueError as error:
        raise ValueError(f"{what} can't be shown. {error}") from error
    except TypeError as error:
        raise TypeError(f"{what} can't be shown. {error}") from error
    if size > MAX_INFO:
        raise ValueError(
            f"{what} has {size:,} bytes of JSON, more than {MAX_INFO:,}. Show a name or an"
            " id, from which the page can fetch the rest."
        )
    return info
