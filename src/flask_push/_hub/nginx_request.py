"""What nginx asks the hub for, on behalf of a browser."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from .._delivery.tickets import TicketRequest

# The header by which nginx says that this is the browser's own request, with its cookies.
_RETURNS = "x-push-return"


class RequestHead:
    """The head of a request, as nginx has sent it."""

    def __init__(self, request: bytes) -> None:
        head = request.partition(b"\r\n\r\n")[0].decode("latin-1")
        first, *lines = head.split("\r\n")
        pairs = (line.partition(":") for line in lines)
        self._headers = {name.lower(): value.strip() for name, _, value in pairs}
        method, _, target = first.rpartition(" ")[0].partition(" ")
        self._is_get = method == "GET"
        self._path, _, self._query = target.partition("?")

    @property
    def token(self) -> str:
        """The last part of the path; empty if the request is not a GET of a path."""
        return self._path.rpartition("/")[2] if self._is_get else ""

    @property
    def ticket_request(self) -> TicketRequest | None:
        """The browser's request, which may have a return ticket; ``None`` if nginx does
        not say that it is one."""
        if _RETURNS not in self._headers:
            return None
        if not self._is_get:
            return TicketRequest(b"", "")
        path = unquote_to_bytes(self._path)
        return TicketRequest.of(path, self._query, lambda name: self._headers.get(name, ""))
