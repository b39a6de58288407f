"""The proxies of the page *Proxies*, with the page's own configuration, before gunicorn."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import typing as t
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest

from support.certificates import make_certificate
from support.reader import HttpReader
from support.reader import StreamReader
from support.servers import end_hubs
from support.servers import free_port
from support.servers import gunicorn
from support.servers import ROOT
from support.servers import serve
from support.servers import Server
from support.servers import status
from support.servers import until

PAGE = (ROOT / "docs" / "proxies.md").read_text()
SECTIONS = dict(re.findall(r"^## ([^\n]*)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))


def blocks(section: str) -> list[str]:
    return re.findall(r"^```\w+\n(.*?)^```$", SECTIONS[section], re.M | re.S)


(NGINX, NGINX_TLS, NGINX_UNIX, NGINX_UPSTREAM, NGINX_KEEPALIVE, NGINX_GZIP) = blocks(
    "nginx"
)
APACHE, APACHE_LATER, APACHE_TLS, APACHE_GZIP = blocks("Apache")
HAPROXY, HAPROXY_LATER, HAPROXY_TLS, HAPROXY_GZIP = blocks("HAProxy")
CADDY, CADDY_GZIP = blocks("Caddy")


def program(name: str, package: str) -> str:
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    assert path, f"{name} is missing: tests/install {package}"
    return path


class Proxy(Server):
    """A proxy, and the browsers that connect to it."""

    tls = False

    def answers(self) -> bool:
        assert self.process.poll() is None, self.log
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port)).close()
            return True
        return False

    def stream(self, *channels: str, **options: t.Any) -> Curl:
        curl = Curl(self, *channels, **options)
        self.readers.append(curl)
        return curl

    def close(self) -> None:
        """Stop the proxy, which stops its own processes."""
        for reader in self.readers:
            reader.close()
        self.stop()


class Curl(HttpReader):
    """A client that reads chunks, gzip and HTTP/2, and reports a response that is cut off.

    After the stream it requests ``/ping``. For both, it prints whether it made a new
    connection, and the status.
    """

    decodes_gzip = False

    def __init__(
        self,
        proxy: Proxy,
        *channels: str,
        last_id: str = "",
        more: cabc.Sequence[str] = (),
        **query: t.Any,
    ) -> None:
        StreamReader.__init__(self, last_id=last_id)
        self.head = b""
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(20)
        url = proxy.url.replace("http:", "https:") if proxy.tls else proxy.url
        pairs = [*(("channel", name) for name in channels), *query.items()]
        command = ["curl", "-sSkNi", "-w", "%{stderr}%{num_connects} %{http_code}\n", *more]
        if last_id:
            command += ["-H", f"Last-Event-ID: {last_id}"]
        command += [f"{url}/stream?{urlencode(pairs)}", f"{url}/ping"]
        with theirs:
            self.process = subprocess.Popen(
                command, stdout=theirs.fileno(), stderr=subprocess.PIPE, text=True
            )

    def said(self) -> list[str]:
        """What it prints about the two requests, when it ends."""
        self.read_to_end()
        assert self.process.stderr is not None
        lines = self.process.stderr.read().splitlines()
        assert self.process.wait(20) == 0, lines
        return lines

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stderr:
            self.process.stderr.close()
        super().close()


@dataclass(frozen=True)
class Way:
    """One proxy, configured in one of the ways on the page."""

    section: str
    variant: str = ""
    # Whether it compresses streams, if it is configured to compress all that it can.
    compresses: bool = False
    # Whether it notices that a browser has disconnected only when it writes to it.
    notices_late: bool = False
    # Whether the browser can use its connection again when a stream has ended.
    keeps: bool = True

    @property
    def tls(self) -> bool:
        return self.variant == "HTTP2"

    def __str__(self) -> str:
        return f"{self.section} {self.variant}".strip()


WAYS = [
    Way("nginx", compresses=True),
    Way("nginx", "unix", compresses=True),
    Way("nginx", "keepalive", compresses=True),
    Way("nginx", "HTTP2", compresses=True),
    Way("Apache", compresses=True, notices_late=True),
    Way("Apache", "HTTP2", compresses=True, notices_late=True),
    Way("HAProxy", keeps=False),
    Way("HAProxy", "HTTP2"),
    Way("Caddy"),
    Way("Caddy", "HTTP2"),
]
PLAIN = [way for way in WAYS if not way.variant]
TLS = [way for way in WAYS if way.tls]


# For each proxy, its configuration and its command. The page's configuration is unchanged
# except for paths and addresses; the rest lets the program run in its own directory.


def nginx(way: Way, directory: Path, listen: str) -> tuple[str, list[str]]:
    config, before = NGINX, ""
    passes = "proxy_pass http://127.0.0.1:8000;\n"
    assert config.count(passes) == 2
    if way.variant == "keepalive":
        before, config = NGINX_UPSTREAM, config.replace(passes, NGINX_KEEPALIVE)
    elif way.variant == "unix":
        config = config.replace(passes, NGINX_UNIX)
    elif way.tls:
        config = config.replace("listen 80;", NGINX_TLS)
    config = re.sub(r"listen (80|443)\b", f"listen {listen}", config)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {directory}/{kind};\n" for kind in kinds)
    # Its workers run as the user of the tests, who owns the app's socket.
    user = "user root;" if os.geteuid() == 0 else ""
    config = f"""\
daemon off; pid {directory}/nginx.pid; {user} error_log stderr warn;
events {{}}
http {{
access_log off;
{temporary}{NGINX_GZIP}{before}{config}}}
"""
    command = [program("nginx", "nginx"), "-p", str(directory), "-e", "stderr"]
    return config, [*command, "-c", str(directory / "proxy.conf")]


APACHE_MODULES = (
    *("mpm_event", "authz_core", "filter", "deflate"),
    *("proxy", "proxy_http", "headers", "alias", "asis", "ssl", "http2"),
)


def apache(way: Way, directory: Path, listen: str) -> tuple[str, list[str]]:
    modules = "".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
        for name in APACHE_MODULES
    )
    config = APACHE.replace(
        "*:80>\n", f"{listen}>\n{APACHE_TLS if way.tls else ''}{APACHE_GZIP}"
    )
    (directory / "later.asis").write_text(APACHE_LATER)
    user = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
    config = f"""\
{modules}{user}ServerName localhost
Listen {listen}
PidFile {directory}/apache.pid
DefaultRuntimeDir {directory}
Mutex file:{directory}
ErrorLog /dev/stderr
{config}"""
    command = [program("apache2", "apache2-bin"), "-DFOREGROUND"]
    return config, [*command, "-f", str(directory / "proxy.conf")]


def haproxy(way: Way, directory: Path, listen: str) -> tuple[str, list[str]]:
    config = HAPROXY
    if way.tls:
        config = config.replace("bind :80\n", HAPROXY_TLS)
    config = re.sub(r"bind :(80|443)\b", f"bind {listen}", config)
    config = config.replace("backend streams\n", f"backend streams\n{HAPROXY_GZIP}")
    (directory / "later.http").write_text(HAPROXY_LATER)
    command = [program("haproxy", "haproxy"), "-db"]
    return config, [*command, "-f", str(directory / "proxy.conf")]


def caddy(way: Way, directory: Path, listen: str) -> tuple[str, list[str]]:
    address = f"{'https' if way.tls else 'http'}://{listen} {{\nbind 127.0.0.1\n"
    if way.tls:
        address += "tls /etc/ssl/hello.crt /etc/ssl/hello.key\n"
    config = CADDY.replace("example.org {\n", f"{address}{CADDY_GZIP}")
    config = config.replace("{\n", "{\nadmin off\nauto_https disable_redirects\n", 1)
    command = [program("caddy", "caddy"), "run", "--adapter", "caddyfile"]
    return config, [*command, "--config", str(directory / "proxy.conf")]


MAKERS = {"nginx": nginx, "Apache": apache, "HAProxy": haproxy, "Caddy": caddy}


class Stage(t.NamedTuple):
    """A proxy, the app behind it, and the directory of the app's files."""

    way: Way
    app: Server
    proxy: Proxy
    directory: Path

    @property
    def streams(self) -> int:
        found: int = status(self.directory)["streams"]
        return found


@contextlib.contextmanager
def set_up(
    way: Way,
    directory: Path,
    certificate: Path,
    seconds: int = 60,
    retry: int = 3000,
    **config: t.Any,
) -> cabc.Iterator[Stage]:
    """Start both.

    :param seconds: These replace the page's timeouts of a minute.
    :param retry: This replaces the page's milliseconds.
    """
    sock = directory / "hello.sock"
    with contextlib.ExitStack() as stack:
        # Threads, so that connections are kept open where a proxy wants that.
        more = ["-w", "2", "--threads", "4", "-b", f"unix:{sock}"]
        config = {"PUSH_HEARTBEAT": 3600, **config}
        app = stack.enter_context(serve(gunicorn, directory, *more, **config))
        # Apache's workers run as another user.
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="proxy-")))
        place.chmod(0o755)
        port = free_port()
        text, command = MAKERS[way.section](way, place, f"127.0.0.1:{port}")
        (place / "proxy.conf").write_text(text)
        replaced = {
            "127.0.0.1:8000": f"127.0.0.1:{app.port}",
            "/run/hello/hello.sock": str(sock),
            "/etc/ssl": str(certificate),
            "/etc/haproxy": str(place),
            "/var/www": str(place),
            "60s": f"{seconds}s",
            "timeout=60": f"timeout={seconds}",
            "retry: 3000": f"retry: {retry}",
            # Caddy waits this long for streams to end, and HAProxy between its attempts to
            # connect to an app that is down.
            "grace_period 5s": "grace_period 1s",
            "timeout connect 5s": "timeout connect 500ms",
        }
        for path in place.iterdir():
            text = path.read_text()
            for ours, theirs in replaced.items():
                text = text.replace(ours, theirs)
            path.write_text(text)
        env = {"HOME": str(place), "XDG_DATA_HOME": str(place)}
        proxy = Proxy(command, port, directory / "proxy.log", env, place)
        proxy.tls = way.tls
        stack.callback(proxy.kill)
        stack.callback(proxy.close)
        yield Stage(way, app, proxy, directory)
        assert not re.search("error|traceback", app.log, re.I), app.log
        # Apache would wait for streams, because it does not notice that readers have left.
        end_hubs(directory)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a certificate and its key, each in a file, and both in a third."""
    directory = tmp_path_factory.mktemp("tls")
    make_certificate(directory / "hello.crt", directory / "hello.key")
    both = [(directory / name).read_text() for name in ("hello.crt", "hello.key")]
    (directory / "hello.pem").write_text("".join(both))
    return directory


def have_left(stage: Stage, channel: str, left: int = 0) -> None:
    """Wait until the hub has this many streams left. It sends no heartbeat."""

    def noticed() -> bool:
        if stage.way.notices_late:
            stage.app.publish(channel, "is anybody there?")
        return stage.streams == left

    until(noticed)
