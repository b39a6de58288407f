"""Runs on plain wires on ASGI servers, which end a response in order if the app returns."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t

import pytest
from flask import Flask
from flask import Response
from support.apps import make_app
from support.apps import push as push
from support.asgi_clients import Client
from support.coroutines import run

from flask_push import Push
from flask_push._handoff.relay import CutOff
from flask_push.asgi import PushASGI


@pytest.fixture
def app(push: Push) -> cabc.Iterator[Flask]:
    app = make_app(push)

    @app.get("/follow")
    def follow() -> Response:
        return push.follow("a", wire="openai")

    yield app
    push._states[app].services().close()


async def until_sent(client: Client, text: bytes) -> None:
    async with asyncio.timeout(20):
        while text not in client.body:
            await asyncio.sleep(0.01)


def is_complete(client: Client) -> bool:
    *_, last = client.sent
    return last["type"] == "http.response.body" and not last.get("more_body", False)


def test_a_run_is_forwarded_without_chunks_to_its_end(app: Flask, push: Push) -> None:
    async def scene() -> None:
        asgi, client = PushASGI(app), Client("/follow")
        with push.run("a") as written:
            task = asyncio.create_task(asgi(client.scope, client.receive, client.send))
            await until_sent(client, b":\n")
            assert not is_complete(client)
            written.write("1")
            await until_sent(client, b"data: 1\n\n")
        await task
        assert client.body == b":\ndata: 1\n\ndata: [DONE]\n\n" and is_complete(client)

    run(scene())


def test_a_run_that_its_hub_cuts_off_raises_and_never_completes(
    app: Flask, push: Push
) -> None:
    async def scene() -> None:
        asgi, client = PushASGI(app), Client("/follow")
        push.run("a")
        task = asyncio.create_task(asgi(client.scope, client.receive, client.send))
        await until_sent(client, b":\n")
        await asyncio.to_thread(push._states[app].services().hub.stop)
        with pytest.raises(CutOff):
            await task
        assert client.body == b":\n" and not is_complete(client)

    run(scene())


def test_a_run_that_no_hub_sends_is_503(app: Flask, push: Push) -> None:
    async def scene() -> None:
        services = push._states[app].services()
        await asyncio.to_thread(services.hub.stop)
        push.run("a")
        client = Client("/follow")
        await PushASGI(app)(client.scope, client.receive, client.send)
        start = t.cast("dict[str, t.Any]", client.sent[0])
        assert start["status"] == 503 and (b"x-should-retry", b"false") in start["headers"]
        assert is_complete(client)

    run(scene())
