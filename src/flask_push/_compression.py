"""Whether a stream is compressed: PUSH_GZIP, the view and the browser decide."""

from __future__ import annotations

from flask import Response
from werkzeug.datastructures import Headers
from werkzeug.http import parse_accept_header

from ._delivery.stream import Stream


def view_allows(headers: Headers) -> bool:
    """Whether the view has not set ``Content-Encoding: identity``, against compression."""
    return headers.get("Content-Encoding", "").strip().lower() != "identity"


def choose(response: Response, stream: Stream, accept_encoding: str) -> Stream:
    """The stream, to be compressed if the browser accepts that. The response says so.

    :param accept_encoding: The header of the request.
    """
    if stream.poll:
        return stream
    response.vary.add("Accept-Encoding")
    if not parse_accept_header(accept_encoding)["gzip"] > 0:
        return stream
    response.headers["Content-Encoding"] = "gzip"
    return stream._replace(gzip=True)
