"""The headers that an app's responses get from what compresses, measures or caches them."""

from __future__ import annotations

from flask import request
from flask import Response

#: The headers, with values that clients and proxies would act on.
LABELS = {
    "Accept-Ranges": "bytes",
    "Connection": "keep-alive, upgrade",
    "Content-Digest": "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
    "Content-Encoding": "br",
    "Content-Length": "3",
    "Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg==",
    "Content-Range": "bytes 0-2/9",
    "Digest": "md5=1B2M2Y8AsgTpgAmY7PhCfg==",
    "ETag": '"1"',
    "Keep-Alive": "timeout=5",
    "Last-Modified": "Wed, 25 Nov 2026 19:10:22 GMT",
    "Proxy-Authenticate": "Basic",
    "Proxy-Connection": "keep-alive",
    "Repr-Digest": "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
    "Trailer": "X-Sum",
    "Transfer-Encoding": "gzip",
    "Upgrade": "h2c",
}


def label(response: Response) -> Response:
    if response.mimetype == "text/event-stream":
        response.headers.extend(LABELS)
        if "forbid" in request.args:
            response.status_code = 403
    return response
