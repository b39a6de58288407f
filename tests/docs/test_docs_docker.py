"""The page *Docker*: its files can be read, fit each other, and their commands start.

No test runs Docker.
"""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from gunicorn.config import GracefulTimeout  # type: ignore[import-untyped]
from support.doc_hubs import app_with
from support.doc_hubs import DIRECTORY
from support.doc_hubs import ENV
from support.doc_hubs import heard
from support.doc_hubs import here
from support.doc_hubs import say
from support.doc_hubs import serve_hello
from support.pages import blocks
from support.pages import commands
from support.pages import DOCS
from support.servers import hubs
from support.servers import serve

from flask_push._handoff.container_end import MOST_SECONDS

PAGE = DOCS["docker"]
(FROM_ENV,) = blocks(PAGE, "python")
(DOCKERFILE,) = blocks(PAGE, "dockerfile")
POD, *FILES = [yaml.safe_load(text) for text in blocks(PAGE, "yaml")]
(CONTAINER,) = map(json.loads, blocks(PAGE, "json"))
LINES = re.findall(r"^([A-Z]+) (.*)$", DOCKERFILE, re.MULTILINE)


def of(instruction: str) -> list[str]:
    return [rest for name, rest in LINES if name == instruction]


def test_the_image_starts_the_app_as_its_own_user(tmp_path: Path) -> None:
    assert DOCKERFILE.splitlines() == [f"{name} {rest}" for name, rest in LINES]
    (start,), (variable,), (user,) = map(of, ("CMD", "ENV", "USER"))
    assert any(f"-o {user} -g {user} -m 0700 {DIRECTORY}" in line for line in of("RUN"))
    name, _, value = variable.partition("=")
    app_with(FROM_ENV, tmp_path)
    words = " ".join(json.loads(start))
    (port,) = of("EXPOSE")
    assert f":{port} " in words
    with serve_hello(tmp_path, words, **{name: here(value, tmp_path)}) as server:
        reader = server.stream().opened()
        say(server, "hi")
        assert heard(reader, 1) == ["hi"]
        assert len(hubs(tmp_path / "push")) == 1


@pytest.mark.parametrize("file", FILES, ids=lambda file: " ".join(file["services"]))
def test_a_file_of_compose_names_what_there_is(file: dict[str, t.Any]) -> None:
    services = file["services"]
    built = [s.get("image") for s in services.values() if "build" in s]
    declared = set(file["volumes"])
    for service in services.values():
        assert service.get("build", ".") == "."
        # An image is built here, by this service or another, or it is a public one.
        assert "build" in service or service["image"] in {*built, "nginx", "redis"}
        assert set(service.get("depends_on", [])) <= services.keys()
        mounts = [mount.split(":") for mount in service.get("volumes", [])]
        assert {source for source, *_ in mounts if source[0] not in "./"} <= declared
        # The store is where the image has it.
        stores = [target for source, target, *_ in mounts if source == "push"]
        assert set(stores) <= {DIRECTORY}
        if period := service.get("stop_grace_period"):
            assert int(period.rstrip("s")) > GracefulTimeout.default


def test_a_pod_has_time_for_all_that_it_waits_for() -> None:
    (container,) = POD["spec"]["containers"]
    name, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    needed = int(seconds) + GracefulTimeout.default + MOST_SECONDS
    assert name == "sleep"
    assert POD["spec"]["terminationGracePeriodSeconds"] > needed


def test_the_app_is_where_the_files_say() -> None:
    nginx = blocks(DOCS["proxies"], "nginx")[0]
    assert "http://127.0.0.1:8000" in nginx and "`http://127.0.0.1:8000`" in PAGE
    broker = FILES[2]["services"]["web"]["environment"]["FLASK_PUSH_BROKER_URL"]
    assert re.fullmatch(r"redis://(\w+)/0", broker)[1] in FILES[2]["services"]  # type: ignore[index]
    built = {c.split()[-1] for b in commands(PAGE) for c in b if "compose build" in c}
    assert all("build" in FILES[1]["services"][name] for name in built) and built
    names = {
        c.split()[-1].partition("=")[0] for b in commands(PAGE) for c in b if "up -d" in c
    }
    assert names == {"web"}


def test_the_container_for_development_runs_the_app(tmp_path: Path) -> None:
    env = CONTAINER["containerEnv"]
    assert f"-e FLASK_PUSH_RUN_DIR={env['FLASK_PUSH_RUN_DIR']} " in PAGE
    assert CONTAINER["forwardPorts"] == [5000]
    env = {**ENV, **env, "FLASK_PUSH_RUN_DIR": str(tmp_path / "push")}
    app_with(FROM_ENV, tmp_path)

    def flask(_: str, port: int) -> list[str]:
        return ["flask", "run", "--host", "0.0.0.0", "-p", str(port)]

    with serve(flask, tmp_path, env=env, cwd=tmp_path) as server:
        reader = server.stream().opened()
        say(server, "hi")
        assert heard(reader, 1) == ["hi"]
