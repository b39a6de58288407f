"""The problems between a browser and the hub, and how to solve each.

The page *The doctor* lists them: ``docs/conf.py`` writes that list.
"""

from __future__ import annotations

from .problem import ANY
from .problem import APACHE
from .problem import CADDY
from .problem import ERROR
from .problem import HAPROXY
from .problem import NGINX
from .problem import ONE_STORE
from .problem import Problem
from .problem import WARN

_BUFFERS = (
    (NGINX, "proxy_buffering off;  # or no X-Accel-Buffering in proxy_ignore_headers"),
    (APACHE, "ProxyPass /stream http://127.0.0.1:8000/stream flushpackets=on"),
)
_COMPRESSES = (
    (NGINX, "gzip off;  # or no text/event-stream in gzip_types"),
    (APACHE, "SetEnvIf Request_URI ^/stream no-gzip=1 no-brotli=1"),
    (HAPROXY, "compression type text/html  # no text/event-stream"),
    (CADDY, "encode {{ match header Content-Type text/html* }}"),
)
_TIMEOUTS = (
    (NGINX, "proxy_read_timeout {seconds}s;"),
    (APACHE, "ProxyTimeout {seconds}"),
    (HAPROXY, "timeout server {seconds}s"),
    (CADDY, "transport http {{ read_timeout {seconds}s }}"),
)

STREAM_PROBLEMS: dict[str, Problem] = {
    "unreachable": Problem(
        ERROR,
        "No server answers at {where}: {error}.",
        ((ANY, "gunicorn -w 4 hello:app  # start it, or correct the URL"),),
    ),
    "certificate": Problem(
        ERROR,
        "The server's certificate can't be trusted: {error}.",
        ((ANY, "SSL_CERT_FILE=authority.pem flask push doctor …"),),
    ),
    "no-http": Problem(
        ERROR,
        "The server at {where} does not answer in HTTP/1.1: {why}.",
        ((ANY, "https://…  # if the port expects TLS; else correct the URL's port"),),
    ),
    "tls": Problem(
        ERROR,
        "The server at {where} can't be reached with TLS: {error}.",
        ((ANY, "http://…  # if the port has no TLS; else correct the URL's port"),),
    ),
    "silent": Problem(
        ERROR,
        "The server accepted the request and sent nothing for {seconds:g} seconds, not"
        " even a finite answer. All its workers are busy, or something in between holds"
        " everything back.",
        ((ANY, "gunicorn -w 4 --threads 8 hello:app  # more workers"),),
    ),
    "denied": Problem(
        ERROR,
        "The answer is {status}{more}. An EventSource does not retry after this status.",
        ((ANY, 'flask push doctor --header "Cookie: session=…" …'),),
    ),
    "missing": Problem(
        ERROR,
        "The answer is {status}: no view answers GET requests at this URL.",
        ((ANY, "flask routes  # shows where the stream's view is"),),
    ),
    "gone": Problem(
        ERROR,
        "The answer is 410. If this is a signed address, it is no longer valid: it has"
        " expired, the app has disconnected its streams, or another key has signed it.",
        ((ANY, "push.stream_url(…, expires=300)  # makes another address"),),
    ),
    "failed": Problem(
        ERROR,
        "The answer is {status}. An EventSource does not retry after this status. The"
        " app's log has the reason.",
        ((ANY, "return push.stream(…)  # what the view has to reach"),),
    ),
    "away": Problem(
        ERROR,
        "The answer is {status}: the proxy can't reach the app, and an EventSource does"
        " not retry after this status.",
        (
            (NGINX, "error_page 502 503 504 = @later;  # and start the app"),
            (ANY, "gunicorn -w 4 hello:app  # start it"),
        ),
    ),
    "type": Problem(
        ERROR,
        "The answer is not an event stream: its Content-Type is {type!r}.",
        ((ANY, "return push.stream(…)  # from the view of this URL"),),
    ),
    "foreign": Problem(
        ERROR,
        "The answer is an event stream, but not one of Flask-Push: it has no push:open,"
        " or none that Flask-Push has made.",
        ((ANY, "return push.stream(…)  # from the view of this URL"),),
    ),
    "unreadable": Problem(
        ERROR,
        "The answer is an event stream that can't be read: {why}",
        ((ANY, "curl -N --compressed …  # shows what comes"),),
    ),
    "turned-away": Problem(
        ERROR,
        "The stream ended at once, and said when to reconnect. No hub is available, or a"
        " limit is reached. The app's log says which.",
        (
            (ANY, "PUSH_MAX_STREAMS = …  # more, if it was this"),
            (ANY, "PUSH_RELAY_MAX = …  # more, if streams are relayed"),
            (ANY, "flask push status  # whether there is a hub"),
        ),
    ),
    "relayed": Problem(
        WARN,
        "The stream is relayed and occupies a worker, because {reason}.",
        (
            (ANY, "gunicorn -w 4 hello:app  # or another server that gives sockets away"),
            (ANY, "app = PushASGI(app)  # on an ASGI server"),
            (ANY, 'PUSH_ACCEL = "/_push/"  # with nginx in front'),
        ),
    ),
    "headers": Problem(
        WARN,
        "The response lacks what keeps others from holding a stream back: {names}.",
        ((ANY, "Cache-Control: no-store, no-transform  # as push.stream has set it"),),
    ),
    "length": Problem(
        ERROR,
        "The stream has a Content-Length, where a browser ends it.",
        (
            (
                ANY,
                "response.get_data()  # not on a stream; nor set the header",
            ),
        ),
    ),
    "slow": Problem(
        WARN,
        "The first byte came after {seconds:.1f} seconds. The view is slow, or the"
        " request waited for a worker.",
        ((ANY, "gunicorn -w 4 hello:app  # more workers, if it was this"),),
    ),
    "buffered": Problem(
        ERROR,
        "Something holds the stream back: {what}.",
        _BUFFERS,
    ),
    "gzip": Problem(
        ERROR,
        "Compression holds the stream back: uncompressed, it arrives at once.",
        _COMPRESSES,
    ),
    "compressed": Problem(
        WARN,
        "Something in between compresses the stream ({encoding}), which takes memory for"
        " each stream.",
        _COMPRESSES,
    ),
    "late": Problem(
        WARN,
        "Each event arrives {seconds:.3f} seconds after it was published.",
        (
            (HAPROXY, "option http-no-delay"),
            (NGINX, "tcp_nodelay on;"),
        ),
    ),
    "unheard": Problem(
        ERROR,
        "An event that was published here did not reach the hub within {seconds:g}"
        " seconds.",
        ((ANY, "flask push stop  # the workers then start the next hub"),),
    ),
    "other-store": Problem(
        ERROR,
        "The stream is of another store than {url}, to which this command publishes.",
        ((ANY, "PUSH_BROKER_URL, PUSH_RUN_DIR  # the same for server, tasks and shell"),),
    ),
    "elsewhere": Problem(
        WARN,
        "The hub process of this app does not hold the stream. A thread holds it, because"
        " no process could be started, or the server has another PUSH_HUB or PUSH_RUN_DIR.",
        (
            (ANY, "tail {log}  # why none can be had"),
            (ANY, 'PUSH_HUB = "process"  # the same for the server and this command'),
        ),
    ),
    "stores": Problem(
        ERROR,
        "The processes of the app have {count} stores: a stream of one process does not"
        " get what another publishes.",
        ((ANY, ONE_STORE),),
    ),
    "not-resumed": Problem(
        ERROR,
        "The position that a browser sends when it reconnects is ignored.",
        (
            (NGINX, "proxy_set_header Last-Event-ID $http_last_event_id;"),
            (ANY, "push.stream(…)  # without replay=False, if that was not meant"),
        ),
    ),
    "gap": Problem(
        ERROR,
        "A stream that reconnects at once gets a gap ({reason}).",
        ((ANY, "PUSH_RETENTION, PUSH_KEEP, PUSH_STORE_BYTES  # more"),),
    ),
    "wrong": Problem(
        ERROR,
        "A stream that reconnected should have got {expected}, and got {found}.",
        ((ANY, "flask push stop  # and report it, with the hub's log"),),
    ),
    "cut": Problem(
        ERROR,
        "The stream was cut after {silent:.1f} seconds without a byte. The heartbeat"
        " comes every {heartbeat:g} seconds.",
        (*_TIMEOUTS, (ANY, "PUSH_HEARTBEAT = {less:g}  # or this")),
    ),
    "no-heartbeat": Problem(
        ERROR,
        "No heartbeat came within {seconds:g} seconds.",
        ((ANY, "PUSH_HEARTBEAT = 15  # the same for the server and this command"),),
    ),
    "http1": Problem(
        WARN,
        "Browsers get HTTP/1.1 here, and open at most six streams to one host.",
        (
            (NGINX, "http2 on;"),
            (APACHE, "Protocols h2 http/1.1"),
            (HAPROXY, "bind :443 ssl crt … alpn h2,http/1.1"),
        ),
    ),
}
