"""aiohttp: each request makes its own answer, and nothing keeps it."""

import asyncio
import sys

from aiohttp import web


async def answer(request):
    pause = float(request.query["pause"])
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    while True:
        await asyncio.sleep(pause)
        await response.write(b"data: a-word\n\n")


app = web.Application()
app.add_routes([web.get("/", answer)])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), backlog=4096, access_log=None)
