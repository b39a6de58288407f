"""Paths that a cookie may have."""

from __future__ import annotations

#: Paths as browsers send them.
PATHS = [
    *("/at/%C3%BC", "/at/%E2%82%AC", "/at/a%20b", "/at/a,b", "/at/a%3Bb", "/at/%2541"),
    *(
        "/at/a=b",
        "/at/a'b",
        "/at/[x]",
        "/at/~x",
        "/at/a:b@c!$&()*+",
        "/at/a|b",
        "/at/a%7Cb",
    ),
    *("/at/a%2fb", "/at/%61", "/at/a/", "/at/a%22b", "/at/%5C"),
]
