"""What ``flask push doctor`` says.

Where a cure is a line of a proxy's configuration, it is chosen by what the proxy says of
itself; one that says nothing gets all of them.
"""

from __future__ import annotations

import typing as t

from ._troubles import ANY
from ._troubles import TROUBLES

OK = "ok"


class Finding(t.NamedTuple):
    level: str
    name: str
    what: str
    #: A line of configuration or a command; several, where the doctor can't choose.
    cures: tuple[str, ...] = ()


def good(name: str, what: str) -> Finding:
    return Finding(OK, name, _shown(what))


def trouble(name: str, proxy: str = ANY, /, **facts: t.Any) -> Finding:
    """The finding of this name, with the cures of this proxy, or of all."""
    level, what, cures = TROUBLES[name]
    chosen = [cure for who, cure in cures if who in (proxy, ANY)]
    if not chosen:
        chosen = [f"{who}: {cure}" for who, cure in cures]
    elif proxy == ANY:
        chosen = [f"{who}: {cure}" if who else cure for who, cure in cures]
    lines = tuple(_shown(cure.format(**facts)) for cure in chosen)
    return Finding(level, name, _shown(what.format(**facts)), lines)


def _shown(text: str) -> str:
    """What a server says must not speak to the terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)
