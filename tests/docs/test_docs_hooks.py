"""The page *React, Vue, Svelte*: its files, bundled as they stand there, in Chromium."""

from __future__ import annotations

import collections.abc as cabc
import json
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask import Flask
from playwright.sync_api import Page
from support.browser import Windows
from support.pages import blocks
from support.pages import DOCS
from support.push_js import say
from support.servers import gunicorn
from support.servers import ROOT
from support.servers import serve
from support.servers import Server
from support.servers import status
from support.servers import TESTS
from support.servers import until

from flask_push import Push
from flask_push.testing import read_events

PAGE = DOCS["react-vue-svelte"]
STREAM, REACT, VUE, SVELTE, LEAVE = blocks(PAGE, "ts")
PRICES, COMMENTS = blocks(PAGE, "tsx")
VIEW, READ = blocks(PAGE, "python")
VUE_PAGE, SVELTE_PAGE = blocks(PAGE, "html")
(SVELTE_CHANGES,) = blocks(PAGE, "js")

CLIENTS = TESTS / "clients"
STATIC = ROOT / "src" / "flask_push" / "static"
NODE = Path(sys.executable).parent / "node"

#: The files of an app with each, which the page has in its blocks.
REACT_PAGE = f"""
import {{ useState }} from "react";
import {{ useEvents, useItems }} from "./push";

export {PRICES}
export {COMMENTS}
"""
APPS = {
    "react.tsx": {"push.ts": REACT, "page.tsx": REACT_PAGE},
    "vue.ts": {"push.ts": VUE, "Page.vue": VUE_PAGE},
    "svelte.ts": {"push.ts": SVELTE, "Page.svelte": SVELTE_PAGE},
}


def node(script: Path, *args: str, cwd: Path) -> None:
    command = [str(NODE), str(script), *args]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def write_app(directory: Path, entry: str, stream: str = STREAM) -> None:
    shutil.copytree(CLIENTS / "hooks", directory, dirs_exist_ok=True)
    for name, code in {"stream.ts": stream, **APPS[entry]}.items():
        (directory / name).write_text(code)
    changes = directory / "Items.svelte"
    changes.write_text(changes.read_text().replace("// CHANGES", SVELTE_CHANGES))
    (directory / "node_modules").mkdir()
    (directory / "node_modules" / "flask-push").symlink_to(STATIC)


@pytest.fixture(scope="module", params=APPS)
def script(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An app, as one script. Its user is shown as present."""
    directory = tmp_path_factory.mktemp("app")
    address = "/stream?user=7&present=lobby&watch=lobby"
    write_app(directory, request.param, STREAM.replace('"/stream"', f'"{address}"'))
    node(CLIENTS / "hooks.mjs", str(directory), request.param, cwd=CLIENTS)
    return (directory / "bundle.js").read_text()


class Shown:
    """A window with the app, and a server."""

    def __init__(self, page: Page, server: Server, directory: Path, script: str) -> None:
        self.page = page
        self.server = server
        self.directory = directory
        self.requests: list[str] = []
        page.on("request", lambda asked: self._note(asked.url))
        page.add_script_tag(content=script, type="module")
        page.wait_for_function("!!window.show")

    def _note(self, url: str) -> None:
        if "/stream" in url:
            self.requests.append(url)

    def show(self, prices: int = 0, **more: t.Any) -> None:
        self.page.evaluate("shown => window.show(shown)", {"prices": prices, **more})

    def has(self, selector: str, *texts: str) -> None:
        self.page.wait_for_function(
            """([selector, texts]) => {
                const all = [...document.querySelectorAll(selector)];
                return all.map(({ textContent }) => textContent.trim()).join("|") == texts;
            }""",
            arg=[selector, "|".join(texts)],
        )

    def streams(self, count: int) -> None:
        until(lambda: status(self.directory).get("streams") == count)

    def set(self, channel: str, item: str, data: object) -> None:
        say(self.server, channel, data, item=item)


@pytest.fixture
def shown(script: str, windows: Windows, tmp_path: Path) -> cabc.Iterator[Shown]:
    config: dict[str, t.Any] = {
        "PUSH_RETRY": 0.5,
        "PUSH_HUB_LINGER": 0.5,
        "PUSH_PRESENCE_GRACE": 0,
    }
    with serve(gunicorn, tmp_path, "-w", "2", "--preload", **config) as server:
        yield Shown(windows.open(f"{server.url}/ping"), server, tmp_path, script)


def test_all_components_share_one_stream_that_ends_with_the_last(shown: Shown) -> None:
    shown.has("#state", "closed")
    assert shown.requests == []
    shown.set("prices", "AAPL", {"price": 1})
    shown.set("stock", "chair", 3)
    shown.show(2, channel="stock", present=True)
    shown.has("li", "AAPL 1", "AAPL 1")
    shown.has("#items", "chair,3")
    shown.has("#present", "7! 1")
    shown.has("#state", "open")
    # React mounted each of them twice.
    assert len(shown.requests) == 1
    shown.streams(1)
    shown.set("prices", "MSFT", {"price": 2})
    shown.has("li", *["AAPL 1", "MSFT 2"] * 2)
    shown.set("prices", "AAPL", {"price": 3})
    shown.has("li", *["AAPL 3", "MSFT 2"] * 2)
    # One leaves, and the others notice nothing.
    shown.show(1, channel="stock", present=True)
    shown.set("stock", "chair", 2)
    shown.has("#items", "chair,2")
    shown.has("li", "AAPL 3", "MSFT 2")
    assert len(shown.requests) == 1
    shown.show()
    shown.has("#state", "closed")
    shown.streams(0)
    # Later, they have all again.
    shown.set("prices", "AAPL", {"price": 4})
    shown.show(1)
    # In the order in which they were set.
    shown.has("li", "MSFT 2", "AAPL 4")
    shown.streams(1)


def test_a_component_that_changes_its_channel_shows_the_other(shown: Shown) -> None:
    shown.set("a", "x", 1)
    shown.show(channel="a")
    shown.has("#items", "x,1")
    shown.set("b", "y", 2)
    shown.show(channel="b")
    shown.has("#items", "y,2")
    shown.set("a", "x", 3)
    shown.set("b", "y", 4)
    shown.has("#items", "y,4")
    shown.streams(1)


def test_each_event_is_shown_once_also_those_from_before(shown: Shown) -> None:
    position = shown.server.get("/position")
    say(shown.server, "comments", "b")
    shown.show(comments={"position": position, "comments": ["a"]})
    shown.has("li", "a", "b")
    say(shown.server, "comments", "c")
    shown.has("li", "a", "b", "c")
    # Another component makes the stream ask anew, and no event is lost or doubled.
    shown.set("prices", "AAPL", {"price": 1})
    shown.show(1, comments={"position": position, "comments": ["a"]})
    say(shown.server, "comments", "d")
    shown.has("li", "AAPL 1", "a", "b", "c", "d")
    say(shown.server, "comments", "e")
    shown.has("li", "AAPL 1", "a", "b", "c", "d", "e")


TSCONFIG = {
    "strict": True,
    "noEmit": True,
    "noUnusedLocals": True,
    "target": "es2022",
    "module": "esnext",
    "moduleResolution": "bundler",
    "jsx": "react-jsx",
    "lib": ["es2023", "dom", "dom.iterable", "dom.asynciterable"],
    "types": [],
    "skipLibCheck": True,
}


def test_the_files_have_types(tmp_path: Path) -> None:
    """One run of the compiler reads them all."""
    modules = CLIENTS / "node_modules"
    for entry in APPS:
        write_app(tmp_path / entry.partition(".")[0], entry, STREAM + LEAVE)
    # Each finds the packages in the folder above it.
    for path in [*modules.iterdir(), *(modules / "@types").iterdir()]:
        folder = tmp_path / "node_modules" / path.relative_to(modules)
        folder.parent.mkdir(exist_ok=True)
        if path.name != "@types":
            folder.symlink_to(path)
    declared = 'declare module "*.vue" {\n  export { Fragment as default } from "vue";\n}\n'
    declared += 'declare module "*.svelte" {\n  const All: any;\n  export default All;\n}\n'
    declared += 'declare module "react-dom/client";\n'
    (tmp_path / "files.d.ts").write_text(declared)
    files = [f"{entry.partition('.')[0]}/{entry}" for entry in APPS]
    config = {"compilerOptions": TSCONFIG, "files": [*files, "files.d.ts"]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(config))
    node(modules / "typescript" / "bin" / "tsc", "-p", ".", cwd=tmp_path)


@pytest.mark.parametrize("entry", ["react.tsx", "vue.ts"])
def test_a_server_that_renders_opens_no_stream(entry: str, tmp_path: Path) -> None:
    write_app(tmp_path, entry)
    renders = {
        "react.tsx": """import { renderToString } from "react-dom/server";
            import { createElement } from "react";
            import { Prices } from "./page";
            console.log(renderToString(createElement(Prices)));""",
        "vue.ts": """import { renderToString } from "vue/server-renderer";
            import { createSSRApp } from "vue";
            import Prices from "./Page.vue";
            console.log(await renderToString(createSSRApp(Prices)));""",
    }
    # A scheduler of React's would keep the process alive.
    code = f"{renders[entry]}\nprocess.exit();"
    (tmp_path / "render.tsx").write_text(code)
    node(CLIENTS / "hooks.mjs", str(tmp_path), "render.tsx", cwd=CLIENTS)
    done = subprocess.run(
        [str(NODE), "bundle.js"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.stderr) == ("<p>Please wait.</p>", "")


# The views.


@pytest.fixture
def app() -> cabc.Iterator[tuple[Flask, Push]]:
    app = Flask("page", instance_path="/nonexistent")
    app.testing = True
    push = Push(app)
    names = {"app": app, "push": push, "login_required": lambda view: view}
    names |= {"current_user": SimpleNamespace(id=7), "may": lambda user, name: name != "x"}
    names["read_comments"] = lambda: [
        event.data for event in push.history("comments", 9).events
    ]
    exec(VIEW, names)
    exec(READ, names)
    yield app, push
    push._services().close()


def test_the_view_grants_what_components_ask_for(app: tuple[Flask, Push]) -> None:
    flask, push = app
    push.publish("comments", "a")
    client = flask.test_client()
    read = client.get("/comments").json
    assert read is not None and read["comments"] == ["a"]
    push.publish("comments", "b")
    address = f"/stream?channel=comments&channel=x&last_event_id={read['position']}"
    with client.get(address) as response:
        opened, event = read_events(response, 2, own=True)
        assert opened.json["channels"] == ["comments"] and event.data == "b"
