"""What may be shown of a store's URL. No input or output."""

from __future__ import annotations

import re

_SECRET = re.compile(r"(?i)([?&;][^=&;#]*(?:pass|pw|secret|token|auth)[^=&;#]*=)[^&;#]*")
# Everything up to the last '@': in a password that is not encoded as it should be, '/',
# '?' and '#' look like the end of the host. A path after '///' has no user before it.
_USER = re.compile(r"(?s)^((?:[\w+.-]+:)?+/{0,2}+)(?!/).*@")
_HOSTS = re.compile(r"^([\w+.-]+://)([^/?#]*)")
_IPV6 = re.compile(r"\[[0-9A-Fa-f:.]*\]")
_PORTS = re.compile(r"[^:]*(?::[0-9]*)?")


def hide_password(url: str) -> str:
    """The URL without user, password, and whatever else may be secret in it.

    An error can show with it what it was given, also if that is no URL at all.
    """
    url = _SECRET.sub(r"\1***", url)
    url, count = _USER.subn(r"\1***@", url)
    hosts = _HOSTS.match(url)
    if count or hosts is None:
        return url
    parts = _IPV6.sub("", hosts[2]).split(",")
    if all(_PORTS.fullmatch(part) for part in parts):
        return url
    # What should be a port is the password of a URL that lacks its host.
    return f"{hosts[1]}***"
