"""Reads a stream with one library, and prints each event it gives as a line of JSON:
``read.py LIBRARY URL``. Ends when the library does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import typing as t


def say(type: str | None, data: str, id: str | None) -> None:
    print(json.dumps([type, data, id]), file=sys.__stdout__, flush=True)


def curl(url: str) -> None:
    """With a shell script's idea of the format: a blank line is an event."""
    with subprocess.Popen(["curl", "-sSN", url], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        fields: dict[str, str] = {}
        lines = []
        for line in process.stdout:
            name, _, value = line.decode().removesuffix("\n").partition(": ")
            if name == "data":
                lines.append(value)
            elif name:
                fields[name] = value
            else:
                say(fields.get("event", "message"), "\n".join(lines), fields.get("id", ""))
                fields, lines = {}, []
    sys.exit(process.returncode)


def httpx_sse(url: str) -> None:
    import httpx
    from httpx_sse import connect_sse

    with httpx.Client() as client, connect_sse(client, "GET", url) as source:
        for event in source.iter_sse():
            say(event.event, event.data, event.id)


def httpx2(url: str) -> None:
    import httpx2

    with httpx2.Client() as client, client.sse(url) as source:
        for event in source:
            say(event.event, event.data, event.id)


def sseclient_py(url: str) -> None:
    import requests
    from sseclient import SSEClient

    # A response, as its README has it, is no iterator.
    source: t.Any = requests.get(url, stream=True)
    with source:
        for event in SSEClient(source).events():
            say(event.event, event.data, event.id)


def sseclient(url: str) -> None:
    import sseclient

    # The types that are found are sseclient-py's.
    client: t.Any = sseclient.SSEClient
    # It prints why it reconnects.
    with contextlib.redirect_stdout(sys.stderr):
        for event in client(url):
            say(event.event, event.data, event.id)


def requests_sse(url: str) -> None:
    from requests_sse import EventSource

    with EventSource(url) as source:
        for event in source:
            say(event.type, event.data, event.last_event_id)


def aiohttp_sse_client(url: str) -> None:
    from aiohttp_sse_client.client import EventSource

    async def read() -> None:
        async with EventSource(url) as source:
            async for event in source:
                say(event.type, event.data, event.last_event_id)

    asyncio.run(read())


if __name__ == "__main__":
    globals()[sys.argv[1].replace("-", "_")](sys.argv[2])
