"""What nginx asks the hub for, on behalf of a browser."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from .._delivery.tickets import TicketRequest

# The header by which nginx says that this is the browser's own request, with its cookies.
_RETURNS = "x-push-return"


def ticket_of(request: bytes) -> str:
    """The last part of the path; empty if the request is not a GET of a path."""
    words = request.partition(b"\r\n")[0].split()
    if len(words) != 3 or words[0] != b"GET":
        return ""
    path = words[1].decode("latin-1").partition("?")[0]
    return path.rpartition("/")[2]


def returns(request: bytes) -> TicketRequest | None:
    """The browser's request, which may have a return ticket; ``None`` if nginx does not
    say that it is one."""
    lines = request.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines[1:])
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    if _RETURNS not in headers:
        return None
    method, _, target = lines[0].rpartition(" ")[0].partition(" ")
    if method != "GET":
        return TicketRequest(b"", "")
    path, _, query = target.partition("?")
    return TicketRequest.of(
        unquote_to_bytes(path), query, lambda name: headers.get(name, "")
    )
