"""Who answers for a stream, as far as its head tells."""

from __future__ import annotations

import collections.abc as cabc
import re

from .._delivery import wire
from ..client.address import Address
from .browser import speaks_http2
from .browser import Visit
from .facts import Finding
from .facts import good
from .facts import trouble
from .findings import ANY
from .findings import APACHE
from .findings import CADDY
from .findings import HAPROXY
from .findings import NGINX

Findings = cabc.Iterator[Finding]

_PROXIES = {"nginx": NGINX, "apache": APACHE, "caddy": CADDY, "haproxy": HAPROXY}


def greet(address: Address, seconds: float) -> tuple[str, list[Finding]]:
    """Ask without wanting a stream: then the server answers, and not the hub.

    :return: Which proxy it is, and what else was found.
    :raises OSError: If there is none.
    """
    with Visit(address, method="HEAD") as visit:
        visit.read(lambda: visit.status, seconds)
        server = visit.headers.get("server", "")
        said = f"{server} {visit.headers.get('via', '')}".lower()
    proxy = next((who for key, who in _PROXIES.items() if key in said), ANY)
    found = []
    if proxy:
        found.append(good("proxy", f"{server or proxy} is in front."))
    elif server:
        found.append(good("server", f"{server}. No proxy shows itself."))
    if address.is_secure:
        if speaks_http2(address):
            said = "Browsers get HTTP/2, and as many streams as they like."
            found.append(good("http2", said))
        else:
            found.append(trouble("http1", proxy))
    return proxy, found


def judge_head(visit: Visit, proxy: str, gzip: bool = False) -> Findings:
    """
    :param gzip: Whether the app may have compressed it.
    """
    status, headers = visit.status, visit.headers
    if status != 200:
        yield _refusal(status, headers, proxy)
        return
    type = headers.get("content-type", "")
    if not re.fullmatch(r"text/event-stream\s*(;\s*charset=\"?utf-8\"?)?", type, re.I):
        yield trouble("type", type=type)
        return
    if "content-length" in headers:
        yield trouble("length")
        return
    yield good("head", f"{visit.version} {status}, {type}.")
    control = headers.get("cache-control", "").lower()
    missing = [word for word in ("no-store", "no-transform") if word not in control]
    if missing:
        yield trouble("headers", names=", ".join(missing))
    if is_relayed(visit):
        yield trouble("relayed", reason=headers[wire.RELAY.lower()])
    encoding = headers.get("content-encoding")
    if encoding and not (gzip and encoding == "gzip"):
        yield trouble("compressed", proxy, encoding=encoding)


def is_relayed(visit: Visit) -> bool:
    return wire.RELAY.lower() in visit.headers


def _refusal(status: int, headers: cabc.Mapping[str, str], proxy: str) -> Finding:
    if status in (401, 403) or 300 <= status < 400:
        to = headers.get("location")
        return trouble("denied", status=status, more=f", to {to}" if to else "")
    if status in (502, 503, 504):
        return trouble("away", proxy, status=status)
    return trouble("missing" if status in (404, 405, 410) else "failed", status=status)
