"""Examines the head of a response: which server or proxy sent it, and whether browsers
accept it as a stream."""

from __future__ import annotations

import collections.abc as cabc
import re

from .._delivery import wire
from ..client.address import Address
from .browser import BrowserRequest
from .browser import speaks_http2
from .finding import Finding
from .finding import Findings
from .finding import ok
from .finding import problem
from .problem import ANY
from .problem import APACHE
from .problem import CADDY
from .problem import HAPROXY
from .problem import NGINX

_PROXIES = {"nginx": NGINX, "apache": APACHE, "caddy": CADDY, "haproxy": HAPROXY}


def greet(address: Address, seconds: float) -> tuple[str, list[Finding]]:
    """Send a HEAD request, which the server answers itself, and not the hub.

    :return: The proxy that answers, and the findings.
    :raises OSError: If the server can't be reached.
    """
    with BrowserRequest(address, method="HEAD") as request:
        request.read(lambda: request.status, seconds)
        server = request.headers.get("server", "")
        names = f"{server} {request.headers.get('via', '')}".lower()
    proxy = next((name for key, name in _PROXIES.items() if key in names), ANY)
    found = []
    if proxy:
        found.append(ok("proxy", f"{server or proxy} is in front."))
    elif server:
        found.append(ok("server", f"{server}. No proxy shows itself."))
    if address.is_secure:
        if speaks_http2(address):
            found.append(ok("http2", "Browsers get HTTP/2, and any number of streams."))
        else:
            found.append(problem("http1", proxy))
    return proxy, found


def judge_head(request: BrowserRequest, proxy: str, gzip: bool = False) -> Findings:
    """
    :param gzip: Whether the app compresses its streams.
    """
    status, headers = request.status, request.headers
    if status != 200:
        yield _refusal(status, headers, proxy)
        return
    type = headers.get("content-type", "")
    if not re.fullmatch(r"text/event-stream\s*(;\s*charset=\"?utf-8\"?)?", type, re.I):
        yield problem("type", type=type)
        return
    if "content-length" in headers:
        yield problem("length")
        return
    yield ok("head", f"{request.version} {status}, {type}.")
    control = headers.get("cache-control", "").lower()
    missing = [word for word in ("no-store", "no-transform") if word not in control]
    if missing:
        yield problem("headers", names=", ".join(missing))
    if is_relayed(request):
        yield problem("relayed", reason=headers[wire.RELAY.lower()])
    encoding = headers.get("content-encoding")
    if encoding and not (gzip and encoding == "gzip"):
        yield problem("compressed", proxy, encoding=encoding)


def is_relayed(request: BrowserRequest) -> bool:
    return wire.RELAY.lower() in request.headers


def _refusal(status: int, headers: cabc.Mapping[str, str], proxy: str) -> Finding:
    if status in (401, 403) or 300 <= status < 400:
        to = headers.get("location")
        return problem("denied", status=status, more=f", to {to}" if to else "")
    if status in (502, 503, 504):
        return problem("away", proxy, status=status)
    if status == 410:
        return problem("gone")
    return problem("missing" if status in (404, 405) else "failed", status=status)
