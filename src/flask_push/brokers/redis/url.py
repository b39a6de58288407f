"""What the URL of a store in a Redis says. No input or output.

It is read before redis-py reads it, which ignores what it can't read, and passes on what
nothing can use. An error here never shows a part of the URL that may be a password's.
"""

from __future__ import annotations

import re
import typing as t
from urllib.parse import parse_qsl
from urllib.parse import urlencode

from .cluster import Address
from .cluster import addresses

_URL = re.compile(r"(?s)([\w+]+)://([^/?#]*)([^?#]*)\??([^#]*)(.*)")
_NEVER = re.compile(r"[\[\]\s\x00-\x1f]")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^:\[\]\s]*)(?::[0-9]{1,5})?")

_USED = {"client_name", "db", "password", "prefix", "socket_keepalive", "username"}
# They are redis-py's, and mean nothing here: connections are pooled, timed and decoded in
# one way.
_IGNORED = {
    *("decode_responses", "encoding", "encoding_errors", "health_check_interval"),
    *("legacy_responses", "lib_name", "lib_version", "max_connections", "protocol"),
    *("retry_on_error", "retry_on_timeout", "socket_connect_timeout", "socket_read_size"),
    *("socket_timeout", "timeout"),
}


class RedisUrl(t.NamedTuple):
    prefix: str
    #: Without user, password and query, for the log.
    name: str
    #: What redis-py is given. Where nodes or Sentinels know the host, it has none.
    plain: str
    #: Which service to ask the Sentinels for, if it has any.
    sentinels: list[Address]
    service: str
    #: If it is a Cluster.
    nodes: list[Address] | None

    @classmethod
    def read(cls, url: str) -> RedisUrl:
        """
        :raises ValueError: If it can't be right.
        """
        match = _URL.fullmatch(url)
        if match is None:
            raise ValueError("A URL of a Redis begins as in redis://host:6379/0.")
        scheme, authority, path, query, fragment = match.groups()
        user, at, hosts = authority.rpartition("@")
        each = hosts.split(",")
        strange = fragment or "@" in path + query or _NEVER.search(user)
        if strange or not all(map(_HOST.fullmatch, each)):
            raise ValueError(
                "The URL of the store can't be read. A user name, a password or a value in"
                " it has to be percent-encoded: urllib.parse.quote(password, safe='')"
            )
        if any(int(port) > 65535 for port in re.findall(r":([0-9]+)(?=,|$)", hosts)):
            raise ValueError("A port in the URL of the store is larger than 65535.")
        if len(each) > 1 and "+" not in scheme:
            raise ValueError(
                "Several hosts are of a Cluster or of Sentinels: redis+cluster://host,host"
                " or redis+sentinel://host,host/service"
            )
        prefix, rest = _read_query(query, scheme)
        plain, service = _place(scheme, hosts, path, rest)
        return cls(
            prefix=prefix,
            name=f"{scheme}://{hosts}{path} ({prefix})",
            plain=plain.replace("//", f"//{user}{at}", 1),
            sentinels=addresses(hosts, 26379) if service else [],
            service=service,
            nodes=addresses(hosts, 6379) if "+cluster" in scheme else None,
        )


def _place(scheme: str, hosts: str, path: str, rest: str) -> tuple[str, str]:
    """The URL for redis-py, without its user, and the service of Sentinels."""
    kind = scheme.partition("+")[0]
    database, service, host = path.strip("/"), "", hosts
    if scheme == "unix":
        if hosts or not path.strip("/"):
            raise ValueError("A socket is named by its whole path: unix:///run/redis.sock")
        return f"unix://{path}?{rest}", ""
    if scheme == "redis+sentinel":
        host = "master"
        service, _, database = database.partition("/")
        if not service:
            raise ValueError(
                "The URL names no service of the Sentinels: redis+sentinel://host:26379/name"
            )
    elif "+cluster" in scheme:
        host = "node"
        if database not in ("", "0") or dict(parse_qsl(rest)).get("db", "0") != "0":
            raise ValueError("The URL names a database, and a Redis Cluster has but one.")
    if database and not (database.isascii() and database.isdigit()):
        raise ValueError(f"A database of a Redis is a number, and not {database[:80]!r}.")
    return f"{kind}://{host}/{database}?{rest}", service


def _read_query(query: str, scheme: str) -> tuple[str, str]:
    """The prefix, and what redis-py needs to know."""
    prefix, rest = "push", []
    for name, value in parse_qsl(query, keep_blank_values=True):
        secure = name.startswith("ssl_")
        if name == "prefix":
            prefix = value
        elif name in _IGNORED:
            continue
        elif secure and not scheme.startswith("rediss"):
            raise ValueError(f"{name!r} in the URL is for TLS: rediss://host:6379/0")
        elif secure or name in _USED:
            rest.append((name, value))
        else:
            raise ValueError(
                f"The URL's query has a name that is not known, {name[:80]!r}. It may have"
                f" {', '.join(sorted(_USED))}, and for rediss: those that begin with ssl_."
            )
    if not prefix or set(prefix) & set("{}*?[]\\"):
        raise ValueError(f"{prefix!r} can't be a prefix: it names keys, as it is.")
    return prefix, urlencode(rest)
