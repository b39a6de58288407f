"""All that ``flask push doctor`` knows to be wrong, and what cures it.

The page *The doctor* has the same, and a test holds the two together.
"""

from __future__ import annotations

import typing as t

WARN = "warn"
ERROR = "error"

# Who reads a cure: a proxy, or anybody.
NGINX = "nginx"
APACHE = "Apache"
HAPROXY = "HAProxy"
CADDY = "Caddy"
ANY = ""


class Trouble(t.NamedTuple):
    level: str
    what: str
    #: By whom each is read: lines of configuration, or commands.
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
                "flask --app hello push doctor  # where the app is, and rightly configured",
            ),
        ),
    ),
    "testing": Trouble(
        WARN,
        "The app is being tested: app.testing is true, and so nothing leaves the process.",
        ((ANY, "TESTING = False"),),
    ),
    "memory": Trouble(
        WARN,
        "The store is this process's memory: no other process can publish, or be tested"
        " from here.",
        ((ANY, _ONE_STORE),),
    ),
    "thread": Trouble(
        WARN,
        "The hub is a thread of each worker: its streams end with the worker, and a view"
        " that computes slows them.",
        ((ANY, 'PUSH_HUB = "process"'),),
    ),
    "owner": Trouble(
        ERROR,
        "{path} belongs to {owner}, and this process to {user}. So it is not looked at.",
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
        "The run directory {path} is on a remote file system, whose locks can't be"
        " trusted.",
        ((ANY, 'PUSH_RUN_DIR = "/var/lib/hello"  # on a local disk'),),
    ),
    "store": Trouble(
        ERROR,
        "The store {url} can't be used: {error}",
        ((ANY, "PUSH_BROKER_URL  # names a store that is there and has space"),),
    ),
    "no-hub": Trouble(
        ERROR,
        "PUSH_HUB names {path}, where no hub answers ({error}).",
        ((ANY, "flask push hub --socket {path}"),),
    ),
    "stuck": Trouble(
        ERROR,
        "A hub has the lock {path}, and does not answer: {error}.",
        ((ANY, "fuser -k {path}"),),
    ),
    "stranger": Trouble(
        ERROR,
        "{error}",
        ((ANY, "sudo -u {name} flask push doctor  # if the app runs as that user"),),
    ),
    "version": Trouble(
        WARN,
        "The hub is of version {hub}, and {here} is installed.",
        ((ANY, "kill -HUP …  # reload the workers: the newer replaces the hub"),),
    ),
    "descriptors": Trouble(
        WARN,
        "PUSH_MAX_STREAMS is {streams}, and {whose} may have {limit} descriptors, one for"
        " each stream.",
        (
            (ANY, "LimitNOFILE={wanted}  # in the systemd unit"),
            (ANY, "ulimit -Hn {wanted}  # in a shell"),
            (ANY, "PUSH_MAX_STREAMS = {possible}"),
        ),
    ),
    "heartbeat": Trouble(
        WARN,
        "PUSH_HEARTBEAT is {seconds:g} seconds, and most proxies end what was silent for"
        " 60, some for 55.",
        ((ANY, "PUSH_HEARTBEAT = 15"),),
    ),
    # Of the way to it.
    "unreachable": Trouble(
        ERROR,
        "There is no server at {where}: {error}.",
        ((ANY, "gunicorn -w 4 hello:app  # start it, or correct the URL"),),
    ),
    "certificate": Trouble(
        ERROR,
        "The certificate is not to be trusted: {error}.",
        ((ANY, "SSL_CERT_FILE=authority.pem flask push doctor …"),),
    ),
    "no-http": Trouble(
        ERROR,
        "What answers at {where} does not answer in HTTP/1.1: {why}.",
        ((ANY, "https://…  # if the port expects TLS; else correct the URL's port"),),
    ),
    "silent": Trouble(
        ERROR,
        "The server took the request, and said nothing for {seconds:g} seconds, asked for"
        " a finite answer, neither. All its workers are busy, or what is between holds"
        " everything.",
        ((ANY, "gunicorn -w 4 --threads 8 hello:app  # more workers"),),
    ),
    "denied": Trouble(
        ERROR,
        "The answer is {status}{more}. A browser's EventSource gives up on it for good.",
        ((ANY, 'flask push doctor --header "Cookie: session=…" …'),),
    ),
    "missing": Trouble(
        ERROR,
        "The answer is {status}: no view answers a GET there.",
        ((ANY, "flask routes  # shows where the stream's view is"),),
    ),
    "failed": Trouble(
        ERROR,
        "The answer is {status}. A browser's EventSource gives up on it for good. The"
        " app's log says why.",
        ((ANY, "return push.stream(…)  # the view has to come so far"),),
    ),
    "away": Trouble(
        ERROR,
        "The answer is {status}: the proxy does not reach the app, and a browser's"
        " EventSource gives up on it for good.",
        (
            (NGINX, "error_page 502 503 504 = @later;  # and start the app"),
            (ANY, "gunicorn -w 4 hello:app  # start it"),
        ),
    ),
    "type": Trouble(
        ERROR,
        "It is no event stream: its Content-Type is {type!r}.",
        ((ANY, "return push.stream(…)  # from the view of this URL"),),
    ),
    "foreign": Trouble(
        ERROR,
        "It is an event stream, and not one of Flask-Push: no push:open came.",
        ((ANY, "return push.stream(…)  # from the view of this URL"),),
    ),
    "turned-away": Trouble(
        ERROR,
        "The stream was told to come back later, and ended. There is no hub, or one has"
        " all the streams it may have. The app's log says which.",
        (
            (ANY, "PUSH_MAX_STREAMS = …  # more, if it was this"),
            (ANY, "PUSH_RELAY_MAX = …  # more, if streams are relayed"),
            (ANY, "flask push status  # whether there is a hub"),
        ),
    ),
    "relayed": Trouble(
        WARN,
        "The stream is relayed and takes a worker, because {reason}.",
        (
            (ANY, "gunicorn -w 4 hello:app  # or another server that gives sockets away"),
            (ANY, "app = PushASGI(app)  # on an ASGI server"),
            (ANY, 'PUSH_ACCEL = "/_push/"  # with nginx in front'),
        ),
    ),
    "headers": Trouble(
        WARN,
        "The head lacks what keeps others from holding a stream: {names}.",
        ((ANY, "Cache-Control: no-store, no-transform  # as push.stream has set it"),),
    ),
    "length": Trouble(
        ERROR,
        "The stream has a Content-Length, and ends there for a browser.",
        ((ANY, "response.get_data()  # whoever calls it, or sets the header, must not"),),
    ),
    "slow": Trouble(
        WARN,
        "The first byte came after {seconds:.1f} seconds. The view takes so long, or"
        " waited for a worker.",
        ((ANY, "gunicorn -w 4 hello:app  # more workers, if it was this"),),
    ),
    "buffered": Trouble(
        ERROR,
        "Something holds the stream back: {what}.",
        _BUFFERS,
    ),
    "gzip": Trouble(
        ERROR,
        "What compresses the stream holds it back: uncompressed, it arrives at once.",
        _COMPRESSES,
    ),
    "compressed": Trouble(
        WARN,
        "Something between compresses the stream ({encoding}), which takes memory for"
        " each.",
        _COMPRESSES,
    ),
    "late": Trouble(
        WARN,
        "Each event comes {seconds:.3f} seconds after it was published.",
        (
            (HAPROXY, "option http-no-delay"),
            (NGINX, "tcp_nodelay on;"),
        ),
    ),
    "unheard": Trouble(
        ERROR,
        "What is published here does not reach the hub within {seconds:g} seconds.",
        ((ANY, "flask push stop  # workers start the next hub"),),
    ),
    "other-store": Trouble(
        ERROR,
        "The stream is of another store than {url}, which this command publishes to.",
        ((ANY, "PUSH_BROKER_URL, PUSH_RUN_DIR  # the same for server, tasks and shell"),),
    ),
    "elsewhere": Trouble(
        WARN,
        "The hub process of this app does not hold the stream: a thread stands in, since"
        " no process can be had, or the server has another PUSH_HUB or PUSH_RUN_DIR.",
        (
            (ANY, "tail {log}  # why none can be had"),
            (ANY, 'PUSH_HUB = "process"  # the same for the server and this command'),
        ),
    ),
    "stores": Trouble(
        ERROR,
        "The processes of the app have {count} stores: who listens by one does not hear"
        " what another publishes.",
        ((ANY, _ONE_STORE),),
    ),
    "not-resumed": Trouble(
        ERROR,
        "The position that a browser sends when it comes back is ignored.",
        (
            (NGINX, "proxy_set_header Last-Event-ID $http_last_event_id;"),
            (ANY, "push.stream(…)  # without replay=False, if that was not meant"),
        ),
    ),
    "gap": Trouble(
        ERROR,
        "A stream that comes back at once is told of a gap ({reason}).",
        ((ANY, "PUSH_RETENTION, PUSH_KEEP, PUSH_STORE_BYTES  # more"),),
    ),
    "wrong": Trouble(
        ERROR,
        "A stream that came back should have had {expected}, and had {found}.",
        ((ANY, "flask push stop  # and report it, with the hub's log"),),
    ),
    "cut": Trouble(
        ERROR,
        "The stream was cut when it was silent for {silent:.1f} seconds. The heartbeat"
        " comes every {heartbeat:g}.",
        (*_TIMEOUTS, (ANY, "PUSH_HEARTBEAT = {less:g}  # or this")),
    ),
    "no-heartbeat": Trouble(
        ERROR,
        "No heartbeat came within {seconds:g} seconds.",
        ((ANY, "PUSH_HEARTBEAT = 15  # the same for the server and this command"),),
    ),
    "http1": Trouble(
        WARN,
        "Browsers get HTTP/1.1 here, and open six streams to a host at most.",
        (
            (NGINX, "http2 on;"),
            (APACHE, "Protocols h2 http/1.1"),
            (HAPROXY, "bind :443 ssl crt … alpn h2,http/1.1"),
        ),
    ),
}
