"""The address of a stream, and how to request it.

:func:`flask_push.connect` and the doctor use it.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import re
import socket
import ssl
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from urllib import parse

from .._system.terminal import shown
from .._system.terminal import without_signed
from .answer import Head
from .outcome import Lost
from .outcome import Refused

# Characters of a path and a query that are not quoted.
_SAFE = "/%:=&?~+!$,;'@()*[]"
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Headers are sent as Latin-1.
_VALUE = re.compile(r"[\t -~\x80-\xff]*")
_PORTS = {"http": 80, "https": 443}


def check_id(last_id: str) -> None:
    """
    :raises ValueError: If a request could not have this id.
    """
    if re.search(r"[\r\n\0]", last_id):
        raise ValueError(f"The id {last_id!r} holds a line break or NUL.")
    last_id.encode()


@dataclass(frozen=True)
class Address:
    """A URL, and the headers that are sent to its origin only.

    :raises ValueError: If the URL or a header is invalid. The text does not repeat the URL,
        which may hold a password.
    """

    url: str
    headers: cabc.Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            parts = parse.urlsplit(self.url)
        except ValueError:
            raise ValueError("The URL's host can't be read.") from None
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("A stream's URL begins with http:// or https:// and a host.")
        if parts.username is not None:
            raise ValueError(
                "The URL holds a user name or a password, which logs would show. Send"
                " them in a header instead: 'Authorization: Basic …'."
            )
        # Each of these raises an error if it is invalid.
        _ = self.url.encode(), self.host, self.port
        for name, value in self.headers.items():
            if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
                raise ValueError(
                    f"The header {name!r} can't be sent: its name or its value holds a"
                    " character that no header may have."
                )

    @property
    def shown(self) -> str:
        """The URL for a log or a terminal, without what is signed."""
        return shown(without_signed(self.url), 200)

    @property
    def _parts(self) -> parse.SplitResult:
        return parse.urlsplit(self.url)

    @property
    def host(self) -> str:
        host = self._parts.hostname or ""
        try:
            host = host.encode("idna").decode()
        except UnicodeError:
            host = ""
        if not re.fullmatch(r"[0-9A-Za-z_.:%~-]+", host):
            raise ValueError("The URL's host is not a valid name.")
        return host

    @property
    def port(self) -> int:
        try:
            port = self._parts.port
        except ValueError:
            raise ValueError("The URL's port is not from 1 to 65535.") from None
        return _PORTS[self._parts.scheme] if port is None else port

    @property
    def is_secure(self) -> bool:
        return self._parts.scheme == "https"

    @property
    def place(self) -> str:
        """The host and the port, as in a ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self._parts.scheme] else f"{host}:{self.port}"

    def move(self, location: str) -> Address:
        """The target of a redirect. It has no headers if its origin is another one.

        :param location: The header as Latin-1.
        :raises ValueError: If it is not a valid address.
        """
        with contextlib.suppress(UnicodeError):
            location = location.encode("latin-1").decode()
        try:
            url, _, _ = parse.urljoin(self.url, location).partition("#")
        except ValueError:
            raise ValueError("The URL's host can't be read.") from None
        moved = Address(url)
        same = (self.is_secure, self.place) == (moved.is_secure, moved.place)
        return Address(url, self.headers) if same else moved

    def target(self, head: Head, own: cabc.Container[str]) -> Address:
        """Where a redirect leads.

        :param own: Parameters that the target must not have, as ``name=value``. Servers
            redirect with the whole query.
        :raises Refused: If it leads nowhere.
        """
        try:
            return self.move(head.headers.get("location", "")).without(own)
        except ValueError as error:
            raise Refused(head.status, f"{self.shown} redirects: {error}") from None

    def renewed(self, renew: cabc.Callable[[], str]) -> Address:
        """The address that takes the place of this one, which is no longer valid.

        :param renew: Returns its URL.
        :raises Refused: If it returns none.
        :raises Lost: If it can't find out now.
        :raises ValueError: If the URL is not a valid address.
        """
        try:
            url = renew()
        except OSError as error:
            raise Lost(f"there is no new address yet: {error}") from error
        if not url:
            raise Refused(410, f"{self.shown} is no longer valid, and there is no other.")
        return self.move(url)

    def without(self, words: cabc.Container[str]) -> Address:
        """The same address without these parameters, as ``name=value``."""
        url, _, query = self.url.partition("?")
        kept = [word for word in query.split("&") if word not in words]
        return replace(self, url="?".join(filter(None, [url, "&".join(kept)])))

    def adding(self, query: str) -> Address:
        """The same address with more parameters."""
        between = "&" if "?" in self.url else "?"
        return replace(self, url=self.url + between + query) if query else self

    def connect(
        self,
        seconds: float,
        context: ssl.SSLContext | None = None,
        protocols: cabc.Sequence[str] = ("http/1.1",),
    ) -> socket.socket:
        """
        :raises OSError: If no server answers within the time.
        """
        sock = socket.create_connection((self.host, self.port), seconds)
        if not self.is_secure:
            return sock
        try:
            if context is None:
                context = ssl.create_default_context()
                context.set_alpn_protocols(list(protocols))
            return context.wrap_socket(sock, server_hostname=self.host)
        except BaseException:
            sock.close()
            raise

    def request(
        self,
        headers: cabc.Mapping[str, str],
        *,
        method: str = "GET",
        query: str = "",
        last_id: str = "",
    ) -> bytes:
        """The request as bytes.

        :param headers: Headers of the address with the same names replace these.
        :param query: Added to the query of the URL.
        :param last_id: Sent as ``Last-Event-ID``, in UTF-8.
        """
        parts = self._parts
        words = "&".join(filter(None, [parse.quote(parts.query, _SAFE), query]))
        target = parse.quote(parts.path or "/", _SAFE) + (f"?{words}" if words else "")
        own = {name.lower() for name in self.headers}
        kept = {name: value for name, value in headers.items() if name.lower() not in own}
        lines = [f"{method} {target} HTTP/1.1"]
        if "host" not in own:
            lines.append(f"Host: {self.place}")
        lines += [f"{name}: {value}" for name, value in {**kept, **self.headers}.items()]
        head = "\r\n".join(lines).encode("latin-1")
        if last_id:
            head += b"\r\nLast-Event-ID: " + last_id.encode()
        return head + b"\r\n\r\n"
