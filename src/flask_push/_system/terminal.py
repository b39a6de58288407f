"""Text that others chose, made fit for a terminal and a log."""

from __future__ import annotations

import re

# Characters that could be what a terminal obeys (escape sequences), what hides or turns
# other text (directions), or what starts a line that looks like one of ours.
_CANDIDATE = re.compile(r"[^ -~]")
# Not printable to Python, and harmless: they join letters of Persian and parts of emoji.
_JOINERS = "\u200c\u200d"
_BREAKS = "\x85\u2028\u2029"
# What is signed in an address. Whoever reads it may listen.
_SIGNED = re.compile(r"((?:^|[?&;\s]|%3F|%26)signed(?:=|%3D))[\w.-]+", re.A | re.I)


def shown(text: object, most: int | None = None) -> str:
    """The text with each character that could control a terminal as an escape such as
    ``\\x1b`` or ``\\n``.

    :param most: Characters after which the text is cut off.
    """
    found = str(text)
    if most is not None and len(found) > most:
        found = f"{found[:most]}…"
    return _CANDIDATE.sub(lambda match: _escape(match[0]), found)


def without_signed(text: str) -> str:
    """The text, in which a signed address has lost what is signed."""
    return _SIGNED.sub(r"\1…", text)


def _escape(character: str) -> str:
    harmless = character.isprintable() or character in _JOINERS
    # Spaces of other scripts, which are no control characters.
    wide = character.isspace() and character > "\x9f" and character not in _BREAKS
    if harmless or wide:
        return character
    return character.encode("unicode_escape").decode()
