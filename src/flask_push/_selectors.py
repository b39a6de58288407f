"""What ``disconnect`` selects: users, sessions and channels."""

from __future__ import annotations

import typing as t

from ._delivery.disconnect import Disconnect
from ._names import channel_name
from ._names import name_of

#: Characters of the reason that browsers get.
MAX_REASON = 1000


class _NotGiven:
    def __repr__(self) -> str:
        return "..."


#: The default of a selector. It is not ``None``, which would be an easy mistake: the user
#: of a request that has none.
NOT_GIVEN: t.Any = _NotGiven()


def disconnect_of(
    user: object, session: object, channel: object, reason: object
) -> Disconnect:
    """What the arguments of ``disconnect`` select.

    :raises TypeError: If none is given, or one is ``None`` or of another type.
    :raises ValueError: If one can't be a name.
    """
    given = {"user": user, "session": session, "channel": channel}
    given = {name: value for name, value in given.items() if value is not NOT_GIVEN}
    if not given:
        raise TypeError(
            "disconnect needs a user, a session or a channel. It never ends all streams of"
            " the app at once."
        )
    for name, value in given.items():
        if value is None:
            raise TypeError(
                f"{name} is None, which names no {name}. Pass the {name} whose streams"
                f" have to end. Leave '{name}' out if any {name} is meant."
            )
    chosen = {name: _checked(name, value) for name, value in given.items()}
    return Disconnect(**chosen, reason=_reason(reason))


def _checked(name: str, value: object) -> str:
    if name != "channel":
        if value == "":
            raise ValueError(f"{name} is empty, and no stream has an empty {name}.")
        return name_of(name, value)
    if not isinstance(value, str):
        raise TypeError(f"A channel's name is text, not {value!r:.80}.")
    return channel_name(value)


def _reason(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"reason is text for the browser, not {value!r:.80}.")
    if len(value) > MAX_REASON:
        raise ValueError(
            f"The reason has {len(value):,} characters, {MAX_REASON:,} at most. Shorten it."
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"The reason {value[:80]!r} holds a lone surrogate.") from None
    return value
