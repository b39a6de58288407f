"""Everything that ``flask push doctor`` can find wrong, and the cure of each.

The page *The doctor* has the same, and a test holds the two together.
"""

from __future__ import annotations

import typing as t

WARN = "warn"
ERROR = "error"

# Which program a cure is for; any, if it is empty.
NGINX = "nginx"
APACHE = "Apache"
HAPROXY = "HAProxy"
CADDY = "Caddy"
ANY = ""


class Trouble(t.NamedTuple):
    level: str
    what: str
    #: The program that each is for, and the line of its configuration, or the command.
    cures: tuple[tuple[str, str], ...]


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
_ONE_STORE = 'PUSH_BROKER_URL = "sqlite:"'

TROUBLES: dict[str, Trouble] = {
    # Of the app.
    "config": Trouble(
        ERROR,
        "The app can't be loaded: {error}",
        (
            (
                ANY,
                "flask --app hello push doctor  # where the app and its configuration are",
            ),
        ),
    ),
    "testing": Trouble(
        WARN,
        "app.testing is true, so the app keeps everything in its own process.",
        ((ANY, "TESTING = False"),),
    ),
    "memory": Trouble(
        WARN,
        "The store is this process's memory: no other process can publish to it, and the"
        " doctor can't test it.",
        ((ANY, _ONE_STORE),),
    ),
    "thread": Trouble(
        WARN,
        "The hub is a thread of each worker: its streams end with the worker, and a view"
        " that computes slows them down.",
        ((ANY, 'PUSH_HUB = "process"'),),
    ),
    "owner": Trouble(
        ERROR,
        "{path} belongs to {owner}, and this command runs as {user}. The doctor does not"
        " look into it.",
        (
            (ANY, "sudo -u {name} flask push doctor  # if the app runs as that user"),
            (
                ANY,
                'PUSH_RUN_DIR = "/var/lib/hello"  # a directory of its own for each user',
            ),
        ),
    ),
    "directory": Trouble(
        ERROR,
        "The run directory {path} can't be used: {error}.",
        ((ANY, 'PUSH_RUN_DIR = "/var/lib/hello"  # which the app may write'),),
    ),
    "open": Trouble(
        ERROR,
        "Every user may write to the run directory {path}: its mode is {mode}.",
        ((ANY, "chmod 700 {path}"), (ANY, 'PUSH_RUN_DIR = "{path}/push"  # made in it')),
    ),
    "group": Trouble(
        WARN,
        "The group {group} may write to the run directory {path}: its mode is {mode}.",
        ((ANY, "chmod g-w {path}  # if not only the app is in the group"),),
    ),
    "apart": Trouble(
        WARN,
        "Events may not reach the right processes: {doubt}",
        ((ANY, 'PUSH_RUN_DIR = "/var/lib/hello"  # the same for all processes'),),
    ),
    "remote": Trouble(
        ERROR,
        "The run directory {path} is on a remote file system, where locks are not"
        " reliable.",
        ((ANY, 'PUSH_RUN_DIR = "/var/lib/hello"  # on a local disk'),),
    ),
    "store": Trouble(
        ERROR,
        "The store {url} can't be used: {error}",
        ((ANY, "PUSH_BROKER_URL = …  # a store that is running and has space"),),
    ),
    "no-hub": Trouble(
        ERROR,
        "PUSH_HUB names {path}, where no hub answers ({error}).",
        ((ANY, "flask push hub --socket {path}"),),
    ),
    "stuck": Trouble(
        ERROR,
        "A hub holds the lock {path} and does not answer: {error}.",
        ((ANY, "fuser -k {path}"),),
    ),
    "stranger": Trouble(
        ERROR,
        "{error}",
        ((ANY, "sudo -u {name} flask push doctor  # if the app runs as that user"),),
    ),
    "version": Trouble(
        WARN,
        "The hub runs version {hub}, and version {here} is installed.",
        ((ANY, "kill -HUP …  # reload the workers: the newer version replaces the hub"),),
    ),
    "descriptors": Trouble(
        WARN,
        "PUSH_MAX_STREAMS is {streams}, but {whose} may open only {limit} descriptors,"
        " and each stream needs one.",
        (
            (ANY, "LimitNOFILE={wanted}  # in the systemd unit"),
            (ANY, "ulimit -Hn {wanted}  # in a shell"),
            (ANY, "PUSH_MAX_STREAMS = {possible}"),
        ),
    ),
    "heartbeat": Trouble(
        WARN,
        "PUSH_HEARTBEAT is {seconds:g} seconds. Most proxies end a connection that is"
        " silent for 60 seconds, some after 55.",
        ((ANY, "PUSH_HEARTBEAT = 15"),),
    ),
    # Of the way to it.
    "unreachable": Trouble(
        ERROR,
        "No server answers at {where}: {error}.",
        ((ANY, "gunicorn -w 4 hello:app  # start it, or correct the URL"),),
    ),
    "certificate": Trouble(
        ERROR,
        "The server's certificate can't be trusted: {error}.",
        ((ANY, "SSL_CERT_FILE=authority.pem flask push doctor …"),),
    ),
    "no-http": Trouble(
        ERROR,
        "The server at {where} does not answer in HTTP/1.1: {why}.",
        ((ANY, "https://…  # if the port expects TLS; else correct the URL's port"),),
    ),
    "tls": Trouble(
        ERROR,
        "The server at {where} can't be reached with TLS: {error}.",
        ((ANY, "http://…  # if the port has no TLS; else correct the URL's port"),),
    ),
    "silent": Trouble(
        ERROR,
        "The server accepted the request and sent nothing for {seconds:g} seconds, not"
        " even a finite answer. All its workers are busy, or something in between holds"
        " everything back.",
        ((ANY, "gunicorn -w 4 --threads 8 hello:app  # more workers"),),
    ),
    "denied": Trouble(
        ERROR,
        "The answer is {status}{more}. An EventSource does not retry after this status.",
        ((ANY, 'flask push doctor --header "Cookie: session=…" …'),),
    ),
    "missing": Trouble(
        ERROR,
        "The answer is {status}: no view answers GET requests at this URL.",
        ((ANY, "flask routes  # shows where the stream's view is"),),
    ),
    "failed": Trouble(
        ERROR,
        "The answer is {status}. An EventSource does not retry after this status. The"
        " app's log has the reason.",
        ((ANY, "return push.stream(…)  # what the view has to reach"),),
    ),
    "away": Trouble(
        ERROR,
        "The answer is {status}: the proxy can't reach the app, and an EventSource does"
        " not retry after this status.",
        (
            (NGINX, "error_page 502 503 504 = @later;  # and start the app"),
            (ANY, "gunicorn -w 4 hello:app  # start it"),
        ),
    ),
    "type": Trouble(
        ERROR,
        "The answer is not an event stream: its Content-Type is {type!r}.",
        ((ANY, "return push.stream(…)  # from the view of this URL"),),
    ),
    "foreign": Trouble(
        ERROR,
        "The answer is an event stream, but not one of Flask-Push: it has no push:open,"
        " or none that Flask-Push has made.",
        ((ANY, "return push.stream(…)  # from the view of this URL"),),
    ),
    "unreadable": Trouble(
        ERROR,
        "The answer is an event stream that can't be read: {why}",
        ((ANY, "curl -N --compressed …  # shows what comes"),),
    ),
    "turned-away": Trouble(
        ERROR,
        "The stream ended at once, and said when to reconnect. No hub is available, or a"
        " limit is reached. The app's log says which.",
        (
            (ANY, "PUSH_MAX_STREAMS = …  # more, if it was this"),
            (ANY, "PUSH_RELAY_MAX = …  # more, if streams are relayed"),
            (ANY, "flask push status  # whether there is a hub"),
        ),
    ),
    "relayed": Trouble(
        WARN,
        "The stream is relayed and occupies a worker, because {reason}.",
        (
            (ANY, "gunicorn -w 4 hello:app  # or another server that gives sockets away"),
            (ANY, "app = PushASGI(app)  # on an ASGI server"),
            (ANY, 'PUSH_ACCEL = "/_push/"  # with nginx in front'),
        ),
    ),
    "headers": Trouble(
        WARN,
        "The response lacks what keeps others from holding a stream back: {names}.",
        ((ANY, "Cache-Control: no-store, no-transform  # as push.stream has set it"),),
    ),
    "length": Trouble(
        ERROR,
        "The stream has a Content-Length, where a browser ends it.",
        (
            (
                ANY,
                "response.get_data()  # not on a stream; nor set the header",
            ),
        ),
    ),
    "slow": Trouble(
        WARN,
        "The first byte came after {seconds:.1f} seconds. The view is slow, or the"
        " request waited for a worker.",
        ((ANY, "gunicorn -w 4 hello:app  # more workers, if it was this"),),
    ),
    "buffered": Trouble(
        ERROR,
        "Something holds the stream back: {what}.",
        _BUFFERS,
    ),
    "gzip": Trouble(
        ERROR,
        "Compression holds the stream back: uncompressed, it arrives at once.",
        _COMPRESSES,
    ),
    "compressed": Trouble(
        WARN,
        "Something in between compresses the stream ({encoding}), which takes memory for"
        " each stream.",
        _COMPRESSES,
    ),
    "late": Trouble(
        WARN,
        "Each event arrives {seconds:.3f} seconds after it was published.",
        (
            (HAPROXY, "option http-no-delay"),
            (NGINX, "tcp_nodelay on;"),
        ),
    ),
    "unheard": Trouble(
        ERROR,
        "An event that was published here did not reach the hub within {seconds:g}"
        " seconds.",
        ((ANY, "flask push stop  # the workers then start the next hub"),),
    ),
    "other-store": Trouble(
        ERROR,
        "The stream is of another store than {url}, to which this command publishes.",
        ((ANY, "PUSH_BROKER_URL, PUSH_RUN_DIR  # the same for server, tasks and shell"),),
    ),
    "elsewhere": Trouble(
        WARN,
        "The hub process of this app does not hold the stream. A thread holds it, because"
        " no process could be started, or the server has another PUSH_HUB or PUSH_RUN_DIR.",
        (
            (ANY, "tail {log}  # why none can be had"),
            (ANY, 'PUSH_HUB = "process"  # the same for the server and this command'),
        ),
    ),
    "stores": Trouble(
        ERROR,
        "The processes of the app have {count} stores: a stream of one process does not"
        " get what another publishes.",
        ((ANY, _ONE_STORE),),
    ),
    "not-resumed": Trouble(
        ERROR,
        "The position that a browser sends when it reconnects is ignored.",
        (
            (NGINX, "proxy_set_header Last-Event-ID $http_last_event_id;"),
            (ANY, "push.stream(…)  # without replay=False, if that was not meant"),
        ),
    ),
    "gap": Trouble(
        ERROR,
        "A stream that reconnects at once gets a gap ({reason}).",
        ((ANY, "PUSH_RETENTION, PUSH_KEEP, PUSH_STORE_BYTES  # more"),),
    ),
    "wrong": Trouble(
        ERROR,
        "A stream that reconnected should have got {expected}, and got {found}.",
        ((ANY, "flask push stop  # and report it, with the hub's log"),),
    ),
    "cut": Trouble(
        ERROR,
        "The stream was cut after {silent:.1f} seconds without a byte. The heartbeat"
        " comes every {heartbeat:g} seconds.",
        (*_TIMEOUTS, (ANY, "PUSH_HEARTBEAT = {less:g}  # or this")),
    ),
    "no-heartbeat": Trouble(
        ERROR,
        "No heartbeat came within {seconds:g} seconds.",
        ((ANY, "PUSH_HEARTBEAT = 15  # the same for the server and this command"),),
    ),
    "http1": Trouble(
        WARN,
        "Browsers get HTTP/1.1 here, and open at most six streams to one host.",
        (
            (NGINX, "http2 on;"),
            (APACHE, "Protocols h2 http/1.1"),
            (HAPROXY, "bind :443 ssl crt … alpn h2,http/1.1"),
        ),
    ),
}
