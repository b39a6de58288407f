"""The examples are short, start as their README says, and do what they are there for."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import re
import shlex
import shutil
import sys
import typing as t
from pathlib import Path

import httpx
import pytest
from httpx_sse import connect_sse
from markupsafe import escape
from playwright.sync_api import expect
from playwright.sync_api import Page
from playwright.sync_api import Route
from support.browser import chromium
from support.browser import Windows
from support.reader import HttpReader
from support.servers import free_port
from support.servers import ROOT
from support.servers import Server
from support.servers import TESTS

import flask_push

EXAMPLES = ROOT / "examples"
README = (EXAMPLES / "README.md").read_text()
COMMANDS = re.findall(r"^\$ ((?:flask|gunicorn) .*)$", README, re.MULTILINE)
NAMES = "answers", "chat", "clock", "dashboard", "forum", "frontends", "jobs"
ANSWERS, CHAT, CLOCK, DASHBOARD, FORUM, FRONTENDS, JOBS = (
    [c for c in COMMANDS if name in c] for name in NAMES
)

Run = cabc.Callable[[str], Server]


@pytest.fixture
def run(tmp_path: Path) -> cabc.Iterator[Run]:
    """Runs a command of the README in a copy of the examples."""
    ignore = shutil.ignore_patterns("instance", "__pycache__")
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=ignore)
    servers = []

    def run(command: str) -> Server:
        program, *words = shlex.split(command)
        port = free_port()
        more = {
            "flask": ["-p", str(port)],
            "gunicorn": ["-b", f"127.0.0.1:{port}", "--no-control-socket"],
        }
        words = [sys.executable, "-m", program, *words, *more[program]]
        servers.append(Server(words, port, tmp_path / "server.log", {}, tmp_path))
        return servers[-1]

    yield run
    for server in servers:
        server.kill()


@contextlib.contextmanager
def enter(server: Server, name: str) -> cabc.Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20) as client:
        assert client.post("/name", json={"name": name}).status_code == 204
        yield client


def say(client: httpx.Client, message: str, key: str) -> int:
    return client.post("/messages", json={"message": message, "key": key}).status_code


@pytest.mark.parametrize(
    ("name", "most"), [*zip(NAMES, (205, 66, 30, 75, 120, 60, 90), strict=True)]
)
def test_an_example_is_short(name: str, most: int) -> None:
    files = (EXAMPLES / name).rglob("*.py")
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert 0 < len([line for line in lines if line.strip()]) < most


def test_every_example_is_in_the_readme() -> None:
    headings = re.findall(r"^## (.*)$", README, re.MULTILINE)
    assert headings == sorted(path.parent.name for path in EXAMPLES.glob("*/app.py"))


def test_each_example_is_shown_on_both_servers() -> None:
    for commands in ANSWERS, CHAT, CLOCK, DASHBOARD, FORUM, FRONTENDS, JOBS:
        assert [command.split()[0] for command in commands] == ["flask", "gunicorn"]


@pytest.mark.parametrize("command", CHAT)
def test_the_chat_carries_what_one_says_to_the_other(run: Run, command: str) -> None:
    server = run(command)
    with enter(server, "Ann") as ann, enter(server, "Ben") as ben:
        assert say(ann, "before", "1") == 204
        history = ben.get("/messages").json()
        assert [json.loads(data)["text"] for data in history["messages"]] == ["before"]
        assert say(ann, "between", "2") == 204
        where = {"last_event_id": history["position"]}
        with connect_sse(ben, "GET", "/stream", params=where) as source:
            events = source.iter_sse()
            assert next(events).event == "push:open"
            assert say(ann, "two\n\nlines", "3") == 204
            # Sent again because its answer was lost, say.
            assert say(ann, "two\n\nlines", "3") == 204
            assert say(ann, "live", "4") == 204
            # Who is there comes on the same stream.
            said = (event for event in events if event.event == "message")
            heard = [json.loads(next(said).data) for _ in range(3)]
        assert [message["text"] for message in heard] == ["between", "two\n\nlines", "live"]
        assert {message["name"] for message in heard} == {"Ann"}
        assert len({message["user"] for message in heard}) == 1


def test_the_chat_is_for_those_who_gave_a_name(run: Run) -> None:
    server = run(CHAT[0])
    with httpx.Client(base_url=server.url) as stranger:
        assert stranger.get("/").status_code == 200
        assert stranger.get("/stream").status_code == 401
        assert stranger.get("/messages").status_code == 401
        assert say(stranger, "hi", "1") == 401


def test_the_chat_refuses_what_is_too_short_or_too_long_or_from_elsewhere(run: Run) -> None:
    server = run(CHAT[0])
    with enter(server, "N" * 40) as client:
        for name in "", "  ", "N" * 41, None, 1, ["Ann"]:
            answer = client.post("/name", json={"name": name})
            assert answer.status_code == 400
            assert answer.json() == {"error": "Your name needs 1 to 40 characters."}
        for message in "", " \n ", "m" * 2001, None:
            answer = client.post("/messages", json={"message": message, "key": "1"})
            assert answer.status_code == 400
            assert "1 to 2,000 characters" in answer.json()["error"]
        assert client.post("/messages", json=[]).status_code == 400
        assert client.post("/messages", content="{").status_code == 415
        # All that a form of another site can send.
        form = {"message": "hi", "key": "1"}
        assert client.post("/messages", data=form).status_code == 415
        as_text = {"Content-Type": "text/plain"}
        answer = client.post("/messages", content=json.dumps(form), headers=as_text)
        assert answer.status_code == 415
        assert client.get("/messages").json()["messages"] == []
        assert say(client, "m" * 2000, "1") == 204
        # Half a character, which JSON can carry and UTF-8 can't.
        half = json.dumps({"message": "\ud800", "key": "2"})
        as_json = {"Content-Type": "application/json"}
        assert client.post("/messages", content=half, headers=as_json).status_code == 204
        assert len(client.get("/messages").json()["messages"]) == 2


def test_the_chat_knows_everybody_after_a_restart(run: Run) -> None:
    command = CHAT[1]
    server = run(command)
    with enter(server, "Ann") as ann:
        server.kill()
        server.start()
        # Whichever of its processes answers.
        assert {say(ann, f"still {n}", str(n)) for n in range(12)} == {204}


# The reloader imports the app twice. It shall do no more than that.
DEBUG = f"{CLOCK[0]} --debug --exclude-patterns '*'"


@pytest.mark.parametrize("command", [*CLOCK, DEBUG, f"{CLOCK[1]} --preload"])
def test_the_clock_shows_each_second_once(run: Run, command: str) -> None:
    server = run(command)
    readers = [server.stream().opened() for _ in range(4)]
    for reader in readers:
        shown = reader.read_data(2)
        assert len(set(shown)) == len(shown)
        assert not reader.gaps
    assert "EventSource" in server.get("/")


@pytest.mark.parametrize("command", DASHBOARD)
def test_the_dashboard_sends_each_value_and_its_alarms(run: Run, command: str) -> None:
    server = run(command)
    with flask_push.connect(f"{server.url}/stream", items=True) as source:
        values: dict[str, list[float]] = {}
        alarms = []
        for event in source:
            if event.type == "alarm":
                alarms.append(event.json)
            elif event.item:
                values.setdefault(str(event.item), []).append(event.json)
            if alarms and len(values) == 50 and min(map(len, values.values())) > 1:
                break
    assert alarms[0]["name"] in values
    # A page that opens later has it, too.
    assert escape(json.dumps(alarms[0]["name"])) in server.get("/")


@contextlib.contextmanager
def log_in(server: Server, name: str) -> cabc.Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20) as client:
        assert client.get("/").status_code == client.get("/stream").status_code == 401
        assert client.post("/login", data={"person": name}).status_code == 302
        yield client


LISTEN = {"channel": ["user:Ann", "group:Garden", "group:Kitchen"]}


@pytest.mark.parametrize("command", FORUM)
def test_the_forum_ends_a_stream_at_the_logout_and_lets_no_old_cookie_in(
    run: Run, command: str
) -> None:
    server = run(command)
    with log_in(server, "Ann") as ann, log_in(server, "Ben") as ben:
        cookies = dict(ann.cookies)
        with connect_sse(ann, "GET", "/stream", params=LISTEN) as source:
            events = source.iter_sse()
            assert next(events).event == "push:open"
            assert ann.post("/logout").status_code == 302
            ben.post("/groups/Garden/comments", data={"text": "secret"})
            assert [(event.event, event.json()) for event in events] == [
                ("push:disconnect", {"reason": "You have logged out."})
            ]
        assert httpx.get(f"{server.url}/stream", cookies=cookies).status_code == 401


@pytest.mark.parametrize("command", FORUM)
def test_the_forum_takes_one_group_from_a_stream(run: Run, command: str) -> None:
    server = run(command)
    with log_in(server, "Ann") as ann, log_in(server, "Ben") as ben:
        with connect_sse(ann, "GET", "/stream", params=LISTEN) as source:
            events = source.iter_sse()
            position = next(events).id
            ben.post("/groups/Kitchen/members/Ann/remove")
            ben.post("/groups/Kitchen/comments", data={"text": "secret"})
            ben.post("/groups/Garden/comments", data={"text": "for all"})
            *_, ended = events
            assert ended.json() == {"reason": "Ben removed you from Kitchen."}
        where = {**LISTEN, "last_event_id": position}
        with connect_sse(ann, "GET", "/stream", params=where) as source:
            events = source.iter_sse()
            assert next(events).json()["channels"] == ["group:Garden", "user:Ann"]
            said = (event.data for event in events if event.event == "message")
            # Numbers are items: how many comments Ann has not read.
            assert "for all" in next(data for data in said if not data.isdigit())
        assert ann.post("/groups/Kitchen/comments", data={"text": "x"}).status_code == 403


@pytest.mark.parametrize("command", JOBS)
def test_an_import_of_the_jobs_has_a_progress_and_a_result(run: Run, command: str) -> None:
    server = run(command)
    file = {"file": ("prices.csv", "\n".join(f"Thing {n},{n}.5" for n in range(30)))}
    with flask_push.connect(f"{server.url}/stream", items=True) as source:
        answer = httpx.post(f"{server.url}/imports", files=file, timeout=20)
        assert answer.status_code == 202
        seen = []
        for event in source:
            if event.item:
                seen.append(event.json)
                if event.json["status"] not in ("queued", "running"):
                    break
    assert event.item == f"import:{answer.json()['id']}"
    assert {said["run"] for said in seen} == {seen[0]["run"]}
    assert seen[0]["info"] == {"name": "prices.csv"}
    assert [said["done"] for said in seen] == sorted(said["done"] for said in seen)
    assert (seen[-1]["status"], seen[-1]["done"], seen[-1]["total"]) == ("done", 30, 30)
    row = httpx.get(f"{server.url}/imports/{answer.json()['id']}").json()
    assert row == {"name": "prices.csv", "result": "30 rows, 450.00 in all"}


CDN = re.compile(r"https://cdn\.jsdelivr\.net/npm/((?:@\w+/)?[^@]+)@([^/]+)/(.+)")
PACKAGES = json.loads((TESTS / "clients" / "package.json").read_text())["dependencies"]


def bring(route: Route) -> None:
    """The file that the CDN has, of the package that is installed for the tests."""
    found = CDN.fullmatch(route.request.url)
    assert found is not None, route.request.url
    name, version, file = found.groups()
    (folder,) = [k for k, v in PACKAGES.items() if f"{k}@{v}".endswith(f"{name}@{version}")]
    route.fulfill(path=TESTS / "clients" / "node_modules" / folder / file)


@pytest.mark.parametrize("name", ["htmx2", "htmx4", "turbo", "alpine", "datastar"])
def test_a_frontend_shows_what_is_said(name: str, run: Run) -> None:
    server = run(FRONTENDS[0])
    with chromium() as browser:
        windows = Windows(browser)
        profile = windows.profile()
        profile.route(re.compile("^https:"), bring)
        pages = [windows.open(f"{server.url}/{name}", profile) for _ in range(2)]
        form: dict[str, t.Any] = {"Content-Type": "application/x-www-form-urlencoded"}
        expect_items(pages, [])
        said = ["<i>first</i>"]
        pages[0].get_by_label("Text").fill(said[0])
        pages[0].keyboard.press("Enter")
        expect_items(pages, said)
        expect(pages[0].get_by_label("Text")).to_have_value("")
        # And what was said while its server was away, once.
        server.stop()
        server.start()
        for text in "second", "third":
            server.request("POST", "/say", f"text={text}".encode(), **form)
            said.append(text)
        expect_items(pages, said)
        windows.close()
        assert windows.errors == []


def test_a_line_of_the_text_is_no_argument_of_datastars(run: Run) -> None:
    server = run(FRONTENDS[0])
    form: dict[str, t.Any] = {"Content-Type": "application/x-www-form-urlencoded"}
    server.request("POST", "/say", b"text=a%0D%0Aselector+body%0Db", **form)
    with HttpReader(server.port, path="/stream/datastar") as reader:
        (data,) = reader.read_data(1)
    names = [line.partition(" ")[0] for line in data.splitlines()]
    assert names == ["selector", "mergeMode", "fragments", "fragments", "fragments"]


def expect_items(pages: list[Page], texts: list[str]) -> None:
    for page in pages:
        expect(page.locator("ul > li")).to_have_text(texts)
