"""What a URL has to be, where a redirect may lead, and what stands in a request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_push.client.address import Address

HEADERS = {"Cookie": "a=b"}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/stream",
        "ftp://secret@h/",
        "http:///secret",
        "http://me:secret@h/",
        "http://secret@h/",
        "http://@h/",
        "http://h:secret/",
        "http://h:99999/",
        "http://h:-1/",
        "http://[secret/",
        "http://secret\u2100@h/",
        "http://a..b/",
        "http://.a/",
        "http://a b/",
        "http://a\0b/",
        "http://a\x1bb/",
        "http://" + "a" * 64 + "/",
        "http://" + "\xe9" * 100_000 + "/",
        "http://h/\ud800",
    ],
)
def test_an_invalid_url_is_an_error_that_shows_no_password(
    url: str,
) -> None:
    with pytest.raises(ValueError) as caught:
        Address(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "headers",
    [{"A": "a\nb"}, {"A": "a\rb"}, {"A": "a\0b"}, {"A": "\u2026"}, {"": "a"}, {"a b": "c"}]
    + [{"A\n": "b"}, {"A:": "b"}, {"\xe9": "b"}, {"A": "\x1bsecret"}],
)
def test_an_invalid_header_is_an_error(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="The header") as caught:
        Address("http://h/", headers)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "line", "host"),
    [
        ("http://h", "GET / HTTP/1.1", "h"),
        ("http://H:80/a?b=c", "GET /a?b=c HTTP/1.1", "h"),
        ("https://h:443/", "GET / HTTP/1.1", "h"),
        ("https://h:80/", "GET / HTTP/1.1", "h:80"),
        ("http://[::1]:8000/", "GET / HTTP/1.1", "[::1]:8000"),
        ("http://b\xfccher.example/", "GET / HTTP/1.1", "xn--bcher-kva.example"),
        ("http://h/\xfc d%20e?\xfc f", "GET /%C3%BC%20d%20e?%C3%BC%20f HTTP/1.1", "h"),
    ],
)
def test_a_request_has_a_host_header(url: str, line: str, host: str) -> None:
    assert Address(url).request({}).decode() == f"{line}\r\nHost: {host}\r\n\r\n"


def test_headers_of_the_address_replace_the_default_headers() -> None:
    address = Address("http://h/", {"user-agent": "mine", "HOST": "there", "X": "\xe9"})
    request = address.request({"User-Agent": "ours", "Accept": "a/b"}, last_id="1.\u2026")
    assert request.split(b"\r\n") == [
        *(b"GET / HTTP/1.1", b"Accept: a/b", b"user-agent: mine", b"HOST: there"),
        *(b"X: \xe9", "Last-Event-ID: 1.\u2026".encode(), b"", b""),
    ]


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/there", "http://h/there"),
        ("there?x#y", "http://h/a/there?x"),
        ("http://h:80/", "http://h:80/"),
        ("//H/x", "http://H/x"),
        ("/\xc3\xbc", "http://h/\xfc"),
        ("/\xfc", "http://h/\xfc"),
    ],
)
def test_headers_are_sent_to_the_same_origin_only(location: str, url: str) -> None:
    moved = Address("http://h/a/stream", HEADERS).move(location)
    assert (moved.url, moved.headers) == (url, HEADERS)


@pytest.mark.parametrize(
    "location",
    [
        "http://other/",
        "https://h/",
        "http://h:81/",
        "//h.other/",
        "http://h2",
        "//127.0.0.1",
    ],
)
def test_headers_are_sent_to_no_other_origin(location: str) -> None:
    here = Address("http://h/a/stream", HEADERS)
    moved = here.move(location)
    assert moved.headers == {}
    assert moved.move("http://h/").headers == {}, "not on the way back either"


@given(st.text(st.characters(max_codepoint=255)) | st.text("/:@[]?#%.a0\xfc", max_size=9))
def test_a_redirect_to_an_invalid_address_is_a_value_error(location: str) -> None:
    try:
        moved = Address("http://h/a/stream", HEADERS).move(location)
    except ValueError:
        return
    head = moved.request({}, last_id="x")
    assert head.count(b"\r\n") == head.count(b"\n") == head.count(b"\r")
    assert head.count(b"\r\n") == (5 if moved.headers else 4)
