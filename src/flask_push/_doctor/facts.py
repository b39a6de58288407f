"""What ``flask push doctor`` says.

Where a cure is a line of a proxy's configuration, it is chosen by what the proxy says of
itself; one that says nothing gets all of them.
"""

from __future__ import annotations

import typing as t

from .._system.terminal import shown
from .findings import ANY
from .findings import TROUBLES

OK = "ok"

# Characters of a line: servers choose some of its words.
_LONGEST = 1000


class Finding(t.NamedTuple):
    level: str
    name: str
    what: str
    #: A line of configuration or a command; several, where the doctor can't choose.
    cures: tuple[str, ...] = ()


def good(name: str, what: str) -> Finding:
    return Finding(OK, name, shown(what, _LONGEST))


def trouble(name: str, proxy: str = ANY, /, **facts: t.Any) -> Finding:
    """The finding of this name, with the cures of this proxy, or of all."""
    level, what, cures = TROUBLES[name]
    chosen = [cure for who, cure in cures if who in (proxy, ANY)]
    if not chosen:
        chosen = [f"{who}: {cure}" for who, cure in cures]
    elif proxy == ANY:
        chosen = [f"{who}: {cure}" if who else cure for who, cure in cures]
    lines = tuple(shown(cure.format(**facts), _LONGEST) for cure in chosen)
    return Finding(level, name, shown(what.format(**facts), _LONGEST), lines)
