"""aiohttp-sse: a queue for each reader."""

import asyncio
import sys
from collections import defaultdict

from aiohttp import web
from aiohttp_sse import sse_response

channels = defaultdict(set)


async def stream(request):
    queue = asyncio.Queue()
    readers = channels[request.query["channel"]]
    async with sse_response(request) as response:
        readers.add(queue)
        try:
            while response.is_connected():
                await response.send(await queue.get())
        finally:
            readers.discard(queue)
    return response


async def publish(request):
    data = await request.text()
    for queue in channels[request.query["channel"]]:
        queue.put_nowait(data)
    return web.Response(status=204)


app = web.Application()
app.add_routes([web.get("/stream", stream), web.post("/publish", publish)])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), backlog=4096, access_log=None)
