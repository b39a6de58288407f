"""The names that an app gives to channels, users, sessions and items."""

from __future__ import annotations

import collections.abc as cabc
from uuid import UUID

from ._checks import check_key
from ._delivery.wire import RESERVED
from ._event import escape
from ._event import escape_item

#: Channels that were checked: most are published to again and again.
CHECKED: set[str] = set()
_MOST = 4096


def plain(text: str) -> str:
    """The text itself. A member of an enum that is text is written as another text by some
    functions of Python, so that it would name two things."""
    return text if type(text) is str else str.__str__(text)


def check_channel(name: str) -> None:
    """Refuse names that no channel of an app may have.

    :raises ValueError: With the reason.
    """
    if type(name) is str and name in CHECKED:
        return
    escape(name)
    if name.startswith(RESERVED):
        raise ValueError(
            f"Channels that begin with {RESERVED!r} are Flask-Push's own, and {name!r:.80}"
            " does. Choose another name."
        )
    if len(CHECKED) >= _MOST:
        CHECKED.clear()
    CHECKED.add(plain(name))


def channel_name(value: str) -> str:
    """The name of a channel as text.

    :raises ValueError: If it can't be one.
    """
    check_channel(value)
    return plain(value)


def channel_names(what: str, given: object) -> tuple[str, ...]:
    """The names of channels as text, each once.

    :param what: The argument that names them.
    :raises TypeError: If it is no list of names.
    :raises ValueError: If one can't be the name of a channel.
    """
    if isinstance(given, (str, bytes)) or not isinstance(given, cabc.Iterable):
        raise TypeError(
            f"{what} is a list of channels, as in {what}=['chat'], not {given!r:.80}."
        )
    names = list(given)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{what} is a list of channels, and {name!r:.80} is none.")
        try:
            check_channel(name)
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None
    return tuple(dict.fromkeys(map(plain, names)))


def name_of(what: str, value: object) -> str:
    """The name as text.

    :param what: ``user`` or ``session``.
    :raises TypeError: If the value has another type.
    :raises ValueError: If the text can't be a name.
    """
    if not _may_name(value):
        raise TypeError(
            f"{what} is text, a whole number, a UUID or None, not {value!r:.80}. Pass what"
            f" identifies the {what}, such as str({what}.id)."
        )
    name = _text(value)
    if not name:
        raise ValueError(f"{what} is empty. Pass None for a stream without a {what}.")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"The {what} {name[:80]!r} holds a lone surrogate.") from None
    return name


def item_name(value: object) -> str:
    """The name of an item as text.

    :raises TypeError: If the value has another type.
    :raises ValueError: If the text can't be the name of an item.
    """
    if not _may_name(value):
        raise TypeError(
            f"An item's name is text, a whole number or a UUID, not {value!r:.80}. Pass"
            " what identifies the item, such as str(row.id)."
        )
    name = _text(value)
    escape_item(name)
    return name


def key_name(value: object) -> str:
    """The key of a run as text.

    :raises TypeError: If the value has another type.
    :raises ValueError: If the text can't be a key.
    """
    if not _may_name(value):
        raise TypeError(
            f"The key of a run is text, a whole number, a UUID or None, not {value!r:.80}."
            " Pass what identifies the run, such as str(row.id)."
        )
    key = _text(value)
    check_key(key)
    return key


def _text(value: object) -> str:
    if isinstance(value, str):
        return plain(value)
    return int.__repr__(value) if isinstance(value, int) else str(value)


def _may_name(value: object) -> bool:
    return isinstance(value, (str, int, UUID)) and not isinstance(value, bool)
