"""One line of what ``flask push doctor`` prints: what is well, or a problem and its cures.

If a cure is a line of a proxy's configuration, the finding has the line for the proxy that
answers. If the proxy does not give its name, the finding has the lines for all proxies.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from .._system.terminal import shown
from .._system.terminal import without_signed
from .app_problems import APP_PROBLEMS
from .problem import ANY
from .stream_problems import STREAM_PROBLEMS

PROBLEMS = {**APP_PROBLEMS, **STREAM_PROBLEMS}

OK = "ok"

# Characters of a line. Some of its words come from servers.
_LONGEST = 1000


class Finding(t.NamedTuple):
    level: str
    name: str
    what: str
    #: A line of configuration or a command; several, where the doctor can't choose.
    cures: tuple[str, ...] = ()


Findings = cabc.Iterator[Finding]


def ok(name: str, what: str) -> Finding:
    return Finding(OK, name, _text(what))


def problem(name: str, proxy: str = ANY, /, **facts: t.Any) -> Finding:
    """The problem with this name, and its cures for this proxy, or for all proxies.

    :param facts: Filled into the texts.
    """
    level, what, cures = PROBLEMS[name]
    chosen = [cure for program, cure in cures if program in (proxy, ANY)]
    if not chosen:
        chosen = [f"{program}: {cure}" for program, cure in cures]
    elif proxy == ANY:
        chosen = [f"{program}: {cure}" if program else cure for program, cure in cures]
    lines = tuple(_text(cure.format(**facts)) for cure in chosen)
    return Finding(level, name, _text(what.format(**facts)), lines)


def _text(text: str) -> str:
    return shown(without_signed(text), _LONGEST)
