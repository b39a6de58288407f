"""The example answers on a server, with a model that does what a test says."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import secrets
import shutil
import typing as t
from pathlib import Path

import pytest

from support.nginx import nginx
from support.redises import Valkey
from support.servers import gunicorn
from support.servers import kill_hubs
from support.servers import ROOT
from support.servers import serve
from support.servers import Server
from support.servers import until

#: Says forty words. After ten of them, it waits or fails, if the question says so, until
#: the test goes on.
MODEL = """
import time
from pathlib import Path

def model(question):
    word, _, name = question.partition(" ")
    file = Path(__file__).with_name(name or "none")
    for n in range(40):
        time.sleep(0.002)
        while n == 10 and word == "wait" and not file.exists():
            time.sleep(0.01)
        if n == 10 and word == "fail" and not file.exists():
            raise RuntimeError("secret")
        yield f"{n} "
"""
WORDS = "".join(f"{n} " for n in range(40))
#: Those before it waits or fails.
FIRST = "".join(f"{n} " for n in range(10))

NGINX = """
location / {{
    proxy_pass http://127.0.0.1:8000;
    proxy_http_version {version};
    proxy_set_header Host $http_host;
}}
"""


def name() -> str:
    """A new one, of a chat or a question."""
    return secrets.token_hex(6)


class Answers:
    """The example on a server."""

    def __init__(self, server: Server, folder: Path, url: str) -> None:
        self.server = server
        self.folder = folder
        self.url = url
        self.store = f"sqlite://{folder}/instance/push-app/push.db"

    def waiting(self) -> str:
        """A question whose answer stops after ten words, until :meth:`go_on`."""
        return f"wait {name()}"

    def failing(self) -> str:
        """A question whose answer fails after ten words, until :meth:`go_on`."""
        return f"fail {name()}"

    def go_on(self, question: str) -> None:
        (self.folder / question.partition(" ")[2]).touch()

    def stop(self, kind: str, id: str) -> None:
        status, _, body = self.server.request("POST", f"/{kind}/{id}/stop")
        assert status == 204, (status, body, self.server.log)

    def kill_hub(self) -> None:
        assert until(lambda: kill_hubs(self.folder)), "there is a hub"


@contextlib.contextmanager
def answers_on(
    directory: Path,
    *more: str,
    command: cabc.Callable[..., list[str]] = gunicorn,
    model: str = MODEL,
    env: cabc.Mapping[str, str] | None = None,
    **config: t.Any,
) -> cabc.Iterator[Answers]:
    """A copy of the example, on gunicorn with four processes or on another server."""
    ignore = shutil.ignore_patterns("instance", "__pycache__")
    folder = shutil.copytree(
        ROOT / "examples/answers", directory / "answers", ignore=ignore
    )
    if model:
        (folder / "model.py").write_text(model)
    app = str(folder / "app")
    if command is gunicorn:
        app, more = "app", ("-w", "4", "--chdir", str(folder), *more)
    config.setdefault("PUSH_RETRY", 0.5)
    with serve(command, directory, *more, app=app, env=env, **config) as server:
        yield Answers(server, folder, server.url)


@contextlib.contextmanager
def behind_nginx(directory: Path, answers: Answers, version: str) -> cabc.Iterator[None]:
    """Its URL is that of an nginx that asks it with this version of HTTP."""
    front = nginx(directory, answers.server, NGINX.format(version=version))
    try:
        answers.url = front.url
        yield
    finally:
        front.kill()


#: A store, and the version of HTTP of the nginx before the server, or none. Those that run
#: only with --soak are behind the first two.
PLACES = (
    ("sqlite", ""),
    ("redis", "1.0"),
    ("sqlite", "1.1"),
    ("sqlite", "1.0"),
    ("redis", ""),
    ("redis", "1.1"),
)


@contextlib.contextmanager
def answers_at(store: str, version: str, directory: Path) -> cabc.Iterator[Answers]:
    with contextlib.ExitStack() as stack:
        config: dict[str, t.Any] = {}
        if store == "redis":
            redis = stack.enter_context(Valkey.started(directory))
            config["PUSH_BROKER_URL"] = f"redis://127.0.0.1:{redis.port}/"
        answers = stack.enter_context(answers_on(directory, **config))
        if version:
            stack.enter_context(behind_nginx(directory, answers, version))
        yield answers


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(place, marks=[pytest.mark.slow] if n > 1 else [])
        for n, place in enumerate(PLACES)
    ],
    ids=lambda place: "-".join(filter(None, place)),
)
def answers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> cabc.Iterator[Answers]:
    store, version = request.param
    with answers_at(store, version, tmp_path_factory.mktemp("answers")) as answers:
        yield answers
