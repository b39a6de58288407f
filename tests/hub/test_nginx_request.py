"""What nginx asks the hub for, on behalf of a browser."""

from __future__ import annotations

import pytest

from flask_push._delivery.tickets import TicketRequest
from flask_push._hub.nginx_request import RequestHead


def test_nginx_says_that_a_browser_comes_back() -> None:
    request = b"GET /str%C3%A9am?a=b HTTP/1.0\r\nX-Push-Return: 1\r\n%b\r\n"
    sent = b"Host: a.test\r\nOrigin: https://a.test\r\nAuthorization: Basic x\r\n"
    asked = RequestHead(request.replace(b"%b", sent)).ticket_request
    assert asked is not None and asked.authorization == "Basic x"
    assert (asked.host, asked.origin) == ("a.test", "https://a.test")
    asked = RequestHead(
        request.replace(b"%b", b"Cookie: a=b\r\nLast-Event-ID: x\r\n")
    ).ticket_request
    assert asked == TicketRequest("/stréam".encode(), "a=b", "a=b", "", "x")
    accepted = RequestHead(
        request.replace(b"%b", b"Accept-Encoding: gzip, br\r\n")
    ).ticket_request
    assert accepted is not None and accepted.accept_encoding == "gzip, br"
    assert (
        RequestHead(request.replace(b"X-Push-Return: 1\r\n%b", b"")).ticket_request is None
    )
    assert RequestHead(
        b"POST" + request[3:].replace(b"%b", b"")
    ).ticket_request == TicketRequest(b"", "")


@pytest.mark.parametrize(
    ("request_", "token"),
    [
        (b"GET /_push/abc?x=1 HTTP/1.0\r\nHost: a/b\r\n\r\n", "abc"),
        (b"GET /abc HTTP/1.0\r\n\r\nGET /other HTTP/1.0", "abc"),
        (b"GET /_push/ HTTP/1.0\r\n\r\n", ""),
        (b"POST /_push/abc HTTP/1.0\r\n\r\n", ""),
        (b"get /_push/abc HTTP/1.0\r\n\r\n", ""),
        (b"GET", ""),
        (b"\r\n\r\n", ""),
        (b"\xff\0", ""),
    ],
)
def test_the_token_is_the_last_part_of_the_path_of_a_get(
    request_: bytes, token: str
) -> None:
    head = RequestHead(request_)
    assert head.token == token
    assert head.ticket_request is None
