"""One app has one run directory, however its processes are started, and as whom."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask
from support.public_directories import public as public
from support.servers import gunicorn
from support.servers import hubs
from support.servers import is_tied
from support.servers import serve
from support.servers import TESTS
from support.servers import the_hub
from support.servers import until
from support.users import ANOTHER
from support.users import as_user
from support.users import for_every_user
from support.users import give
from support.users import is_root
from support.users import SOMEONE

from flask_push import Push
from flask_push._app_directory import Place
from flask_push._cli import push as commands
from flask_push._config import Config
from flask_push._handoff.process_door import ProcessDoor
from flask_push._ipc.files import HubFiles
from flask_push._system import rundir

APP = """
from flask import Flask
from flask_push import Push
app = Flask(__name__)
push = Push(app)
if __name__ == "__main__":
    print(push.broker_url)
"""


@pytest.fixture
def temporary(public: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the place of /tmp, which is of all tests and all users."""
    (directory := public / "tmp").mkdir()
    directory.chmod(0o1777)
    monkeypatch.setattr(rundir, "TEMP", directory)
    return directory


def run(*words: str | Path, cwd: Path, path: Path | None = None) -> str:
    env = {**os.environ, "PYTHONPATH": str(path or "")}
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_app_has_the_same_directory_as_a_script_and_as_a_module(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    (elsewhere := tmp_path / "elsewhere").mkdir()
    asks = "from app import push; print(push.broker_url)"
    assert {
        run(tmp_path / "app.py", cwd=tmp_path),
        run(tmp_path / "app.py", cwd=elsewhere),
        run("../app.py", cwd=elsewhere),
        run("-m", "app", cwd=tmp_path),
        run("-c", asks, cwd=elsewhere, path=tmp_path),
    } == {f"sqlite://{tmp_path}/instance/push-app/push.db"}


def test_an_app_in_a_package_has_the_same_directory_as_a_script_and_as_a_module(
    tmp_path: Path,
) -> None:
    (package := tmp_path / "shop").mkdir()
    (package / "__init__.py").write_text("")
    (package / "web.py").write_text(APP)
    (elsewhere := tmp_path / "elsewhere").mkdir()
    asks = "from shop.web import push; print(push.broker_url)"
    assert {
        run("-m", "shop.web", cwd=tmp_path),
        run("-m", "shop.web", cwd=elsewhere, path=tmp_path),
        run(package / "web.py", cwd=elsewhere),
        run("-c", asks, cwd=tmp_path),
    } == {f"sqlite://{tmp_path}/instance/push-shop.web/push.db"}


def test_a_child_of_multiprocessing_has_the_run_directory_of_its_parent(
    tmp_path: Path,
) -> None:
    (tmp_path / "app.py").write_text(
        APP.replace("print(push.broker_url)", "tell()\n    spawn()").replace(
            "if __name__",
            "def tell(): print(push.broker_url, flush=True)\n"
            "def spawn():\n"
            "    import multiprocessing\n"
            "    child = multiprocessing.get_context('spawn').Process(target=tell)\n"
            "    child.start()\n"
            "    child.join()\n"
            "if __name__",
        )
    )
    (elsewhere := tmp_path / "elsewhere").mkdir()
    lines = run(tmp_path / "app.py", cwd=elsewhere).splitlines()
    assert lines == [f"sqlite://{tmp_path}/instance/push-app/push.db"] * 2


def test_an_instance_folder_that_was_given_is_used(tmp_path: Path) -> None:
    given = APP.replace("(__name__)", f"(__name__, instance_path={str(tmp_path / 'x')!r})")
    (tmp_path / "app.py").write_text(given)
    assert run(tmp_path / "app.py", cwd=Path("/")) == (
        f"sqlite://{tmp_path}/x/push-app/push.db"
    )


def test_a_run_directory_that_depends_on_the_working_directory_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = Flask("no_module_of_this_name")
    push = Push(app)
    push.publish("a", "x")
    (line,) = caplog.messages
    assert "'no_module_of_this_name' is not that of a module" in line
    assert f"{tmp_path}/instance/push-no_module_of_this_name" in line
    assert "Flask(__name__)" in line and "PUSH_RUN_DIR" in line
    push._services().close()
    known = Flask("no_module_of_this_name", instance_path=str(tmp_path))
    assert Place.of(known).doubts(Config()) == []
    assert Place.of(app).doubts(Config(run_dir=str(tmp_path))) == []
    assert Place.of(Flask("flask_push")).doubts(Config()) == []


# Other users.


def shop(instance: Path) -> Flask:
    return Flask("flask_push", root_path="/srv/shop", instance_path=str(instance))


def test_an_existing_run_directory_is_used(public: Path, temporary: Path) -> None:
    """Made by an administrator, in a folder that is not the app's to write."""
    instance = public / "instance"
    (made := instance / "push-flask_push").mkdir(parents=True)
    instance.chmod(0o555)

    def directory() -> Path:
        return Place.of(shop(instance)).directory(Config())

    if is_root():
        assert str(temporary) in as_user(SOMEONE, directory)
        give(made, SOMEONE)
        assert as_user(SOMEONE, directory) == str(made)
    else:
        assert directory() == made
    instance.chmod(0o755)


def another_users(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run directory that another user has, since that one can't write the folder."""
    path = temporary / f"push-{ANOTHER}-{rundir._mark('/srv/shop', 'flask_push')}"
    path.mkdir(0o700)
    if is_root():
        give(path, ANOTHER)
    else:
        monkeypatch.setattr(rundir, "_owner", lambda p: ANOTHER if p == path else None)
    return path


def test_a_run_directory_of_another_user_is_logged(
    public: Path,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    theirs = another_users(temporary, monkeypatch)
    push = Push(shop(public))
    push.publish("a", "x")
    (line,) = caplog.messages
    assert f"{public}/push-flask_push in this process" in line
    assert f"{theirs} in those of {ANOTHER}" in line
    assert "Run all processes of the app as one user" in line
    push._services().close()


def test_run_directories_of_other_users_do_not_matter_to_a_store_elsewhere(
    public: Path,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    another_users(temporary, monkeypatch)
    app = shop(public)
    app.config["PUSH_BROKER_URL"] = f"sqlite://{public}/push.db"
    push = Push(app)
    assert push._states[app].apart() == ""
    push.publish("a", "x")
    assert caplog.messages == []
    push._services().close()


def test_the_command_publish_refuses_an_event_that_no_stream_would_receive(
    public: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = another_users(temporary, monkeypatch)
    app = shop(public)
    push = Push(app)
    state = push._states[app]
    assert f"{theirs} in those of {ANOTHER}" in state.apart()
    result = app.test_cli_runner().invoke(commands, ["publish", "a", "x"])
    assert result.exit_code == 1 and "No stream would receive it" in result.output
    assert not (public / "push-flask_push").exists()
    # With a directory of its own it is this user's to decide.
    (public / "push-flask_push").mkdir(0o700)
    assert state.apart() == ""
    with HubFiles.of(theirs).listen():
        assert state.apart() == "", "any user could have made it"


def test_the_command_publish_refuses_an_event_if_the_hub_belongs_to_another_user(
    public: Path, temporary: Path
) -> None:
    if not is_root():
        return
    (theirs := public / "push-flask_push").mkdir(0o711)
    give(theirs, ANOTHER)
    app = shop(public)
    push = Push(app)

    def apart() -> str:
        push._states[app].place.directory(Config()).mkdir(0o700, exist_ok=True)
        return push._states[app].apart()

    assert as_user(SOMEONE, apart) == ""
    with HubFiles.of(theirs).listen():
        assert f"{theirs} in those of {ANOTHER}" in as_user(SOMEONE, apart)
        own = HubFiles.of(
            temporary / f"push-{SOMEONE}-{rundir._mark('/srv/shop', app.name)}"
        )
        give(own.sock.parent, 0)
        with own.listen():
            give(own.sock.parent, SOMEONE)
            give(own.sock, SOMEONE)
            assert as_user(SOMEONE, apart) == ""


# Commands that look.


def flask_push(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flask", "--app", "apps.basic", "push", *words]
    env = {**os.environ, "INSTANCE": str(directory)}
    return subprocess.run(
        command, cwd=TESTS, env=env, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("command", ["status", "stop", "doctor"])
def test_commands_that_only_read_create_nothing(tmp_path: Path, command: str) -> None:
    done = flask_push(tmp_path, command)
    assert done.returncode == (0 if command == "doctor" else 1)
    assert list(tmp_path.iterdir()) == []
    if command != "doctor":
        assert f"No hub is running at {tmp_path}/push-basic/hub.sock" in done.stderr


def test_a_hub_of_another_user_is_reported(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path) as server:
        server.stream("a").opened()
        found = flask_push(tmp_path, "status", "--json")
        assert json.loads(found.stdout)["streams"] == 1
        assert flask_push(tmp_path, "stop").returncode == 0
        assert not (tmp_path / "push-basic" / "hub.sock").exists()


# Several apps.


def test_two_apps_that_share_a_run_directory_are_named_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def begin(name: str, **config: str) -> None:
        app = Flask(name, instance_path="/nonexistent")
        app.config.update(PUSH_RUN_DIR=str(tmp_path), **config)
        push = Push(app)
        push.publish("a", "x")
        push._services().close()

    begin("flask")
    begin("flask")
    begin("flask_push", PUSH_BROKER_URL=f"sqlite://{tmp_path}/push.db")
    assert caplog.messages == []
    begin("flask_push")
    (line,) = caplog.messages
    assert f"The apps 'flask' and 'flask_push' share the run directory {tmp_path}" in line
    assert (tmp_path / "app").read_text() == "flask\n"


# A directory that goes.


def test_publishing_works_when_the_directory_was_removed(tmp_path: Path) -> None:
    app = Flask("flask_push", instance_path=str(tmp_path / "instance"))
    push = Push(app)
    before = push.publish("a", "before")
    shutil.rmtree(tmp_path / "instance")
    after = push.publish("a", "after")
    assert after.partition("-")[0] != before.partition("-")[0], "another epoch"
    shutil.rmtree(tmp_path / "instance")
    assert push.history("a", 9).events == []
    push._services().close()


def test_a_run_directory_that_becomes_writable_for_all_is_refused(tmp_path: Path) -> None:
    app = Flask("flask_push", instance_path=str(tmp_path))
    push = Push(app)
    push.publish("a", "x")
    directory = tmp_path / "push-flask_push"
    directory.chmod(0o777)

    def refused() -> str:
        with contextlib.suppress(RuntimeError):
            push.publish("a", "y")
            return ""
        return "refused"

    until(refused)
    directory.chmod(0o700)
    push.publish("a", "z")
    push._services().close()


# A process that becomes another user's.


def test_a_process_that_changes_its_user_holds_ties_to_the_right_hub(
    public: Path, temporary: Path
) -> None:
    """As the workers of gunicorn do, which root starts with ``--user``."""
    app = shop(public / "instance")
    push = Push(app)
    state = push._states[app]

    def ties() -> list[Path]:
        with app.app_context():
            hub = push._services().hub
        assert isinstance(hub, ProcessDoor)
        assert [tie.files for tie in state.ties] == [hub.files]
        assert all(tie._fd is not None for tie in state.ties)
        return [tie.files.sock for tie in state.ties]

    (before,) = ties()
    assert before == public / "instance/push-flask_push/hub.sock"
    if is_root():
        (public / "instance").chmod(0o755)
        text = as_user(SOMEONE, ties)
        assert f"{temporary}/push-{SOMEONE}-flask_push-" in text, text
    push._services().close()
    for tie in state.ties:
        tie.release()


def test_a_server_that_root_starts_keeps_the_hub_of_its_workers(
    public: Path, temporary: Path
) -> None:
    if not is_root():
        return
    instance = public / "instance"
    place = Place.of(shop(instance))

    def make() -> str:
        unwritable = place._replace(instance="/nonexistent")
        path = unwritable.directory(Config())
        path.mkdir(0o700)
        HubFiles.of(path).ties.write_text("")
        return str(path)

    theirs = Path(as_user(SOMEONE, make))
    app = shop(instance)
    state = Push(app)._states[app]
    held = [tie.files.sock for tie in state.ties if tie._fd is not None]
    assert held == [theirs / "hub.sock"]
    for tie in state.ties:
        tie.release()


def test_gunicorn_started_by_root_may_run_workers_as_another_user(public: Path) -> None:
    (instance := public / "instance").mkdir()
    words, before = ["--preload"], list[str]()
    if is_root():
        give(instance, SOMEONE)
        words += ["--user", str(SOMEONE), "--group", str(SOMEONE)]
        before = for_every_user()

    def command(app: str, port: int, *more: str) -> list[str]:
        return [*before, *gunicorn(app, port, *more)]

    with serve(command, instance, *words, PUSH_HUB_LINGER=60) as server:
        reader = server.stream("a").opened()
        server.publish("a", "x")
        assert reader.read_data(1) == ["x"]
        pid = the_hub(instance)
        # Another run of the server, before anything of the app's was used in it.
        server.stop()
        server.start()
        until(lambda: is_tied(instance))
        assert hubs(instance) == [pid]
        server.publish("a", "y")
        assert reader.read_data(2) == ["x", "y"]
        assert "PermissionError" not in server.log and "Traceback" not in server.log
        owner = (instance / "push-basic" / "hub.sock").stat().st_uid
        assert owner == (SOMEONE if is_root() else os.geteuid())
