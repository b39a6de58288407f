"""Text that others chose, made fit for a terminal and a log."""

from __future__ import annotations

import re
import unicodedata

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


def width_of(text: str) -> int:
    """The columns of a terminal that a text takes. Most characters of Chinese, Japanese and
    Korean take two, and accents that follow a letter none."""
    if text.isascii():
        return len(text)
    return sum(map(_width, text))


def padded(text: str, width: int) -> str:
    """The text, with spaces up to so many columns."""
    return text + " " * (width - width_of(text))


def cut(text: str, width: int) -> str:
    """As much of the text as so many columns have, with ``…`` in the place of the rest."""
    if width_of(text) <= width:
        return text
    end, left = 0, width - 1
    while (left := left - _width(text[end])) >= 0:
        end += 1
    return f"{text[:end]}…"[: max(0, width)]


def _width(character: str) -> int:
    if unicodedata.combining(character) or character in _JOINERS:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


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
