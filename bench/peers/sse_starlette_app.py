"""sse-starlette: a queue for each reader."""

import asyncio
from collections import defaultdict

from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

channels = defaultdict(set)


async def stream(request):
    async def events():
        queue = asyncio.Queue()
        channels[name].add(queue)
        try:
            while True:
                yield {"data": await queue.get()}
        finally:
            channels[name].discard(queue)

    name = request.query_params["channel"]
    return EventSourceResponse(events())


async def publish(request):
    data = (await request.body()).decode()
    for queue in channels[request.query_params["channel"]]:
        queue.put_nowait(data)
    return Response(status_code=204)


app = Starlette(
    routes=[Route("/stream", stream), Route("/publish", publish, methods=["POST"])]
)
