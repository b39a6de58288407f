"""A client of an ASGI app, without a server."""

from __future__ import annotations

import asyncio
import typing as t


class Client:
    """What an ASGI server knows of one request."""

    def __init__(self, path: str = "/stream", type: str = "http") -> None:
        self.scope = {
            "type": type,
            "http_version": "1.1",
            "method": "GET",
            "path": path,
            "query_string": b"",
            "headers": [],
            "server": ("localhost", 1),
        }
        self.sent: list[t.Any] = []
        self.left = asyncio.Event()
        self.fails = False

    async def receive(self) -> dict[str, t.Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: t.Any) -> None:
        if self.fails:
            raise OSError("the client is gone")
        self.sent.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    async def opened(self) -> None:
        async with asyncio.timeout(20):
            while b"push:open" not in self.body:
                await asyncio.sleep(0.01)
