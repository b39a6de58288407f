"""What a problem is that the doctor can find."""

from __future__ import annotations

import typing as t

WARN = "warn"
ERROR = "error"

# The program whose configuration a cure changes; any, if it is empty.
NGINX = "nginx"
APACHE = "Apache"
HAPROXY = "HAProxy"
CADDY = "Caddy"
ANY = ""


class Problem(t.NamedTuple):
    """The words in braces are filled in when the problem is found."""

    level: str
    what: str
    #: For each program, the line of its configuration, or a command.
    cures: tuple[tuple[str, str], ...]


ONE_STORE = 'PUSH_BROKER_URL = "sqlite:"'
