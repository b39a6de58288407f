"""element.js and juggernaut.js in a real browser: the element, and what Juggernaut had."""

from __future__ import annotations

import contextlib
import json
import re
import typing as t
from pathlib import Path

from playwright.sync_api import Page
from support.browser import Windows
from support.push_js import receives
from support.push_js import running as running
from support.push_js import say
from support.push_js import server as server
from support.servers import gunicorn
from support.servers import ROOT
from support.servers import serve
from support.servers import Server
from support.servers import status
from support.servers import until

from flask_push import connect
from flask_push import Event
from flask_push import Publisher
from flask_push._scripts import script
from flask_push._scripts import version


def publisher(server: Server) -> contextlib.closing[Publisher]:
    """A publisher as in any process that is not the app."""
    (path,) = server.directory.glob("push-basic/push.db")
    return contextlib.closing(Publisher(f"sqlite://{path}"))


# The element.

ELEMENT = """async attributes => {
    await import("/push/element.js");
    window.received = [];
    for (const type of ["message", "said", "push:gap", "push:error"])
        document.body.addEventListener(type, ({detail: {error, channel, data}}) => {
            received.push(error ? String(error) : [type, channel, data]);
        });
    window.states = [];
    document.addEventListener("push:state", event => states.push(event.detail.state));
    window.element = document.createElement("push-source");
    for (const [name, value] of Object.entries(attributes))
        element.setAttribute(name, value);
    document.body.append(element);
}"""


def is_open(page: Page) -> None:
    page.wait_for_function("element.getAttribute('state') == 'open'")


def element(page: Page, **attributes: str) -> Page:
    page.evaluate(ELEMENT, {"src": "/stream", **attributes})
    is_open(page)
    return page


def test_the_element_dispatches_the_events_that_it_receives(
    server: Server, windows: Windows
) -> None:
    page = windows.open(f"{server.url}/ping")
    element(page, channels=" chat\n news ", types="message said")
    assert page.evaluate("states") == ["connecting", "open"]
    say(server, "chat", {"text": "hi"})
    say(server, "news", 2, type="said")
    say(server, "other", 3)
    server.publish("chat", "{not JSON")
    page.wait_for_function("received.length == 3")
    received = page.evaluate("received")
    assert received[:2] == [["message", "chat", {"text": "hi"}], ["said", "news", 2]]
    assert received[2].startswith("SyntaxError: not JSON on chat")


def test_no_event_is_missed_when_the_channels_of_the_element_change(
    server: Server, windows: Windows
) -> None:
    page = element(windows.open(f"{server.url}/ping"), channels="a b", parse="text")
    page.evaluate("element.setAttribute('channels', 'b c'); window.before = element.push")
    page.wait_for_function("states.length >= 4 && states.at(-1) == 'open'")
    for name in "abc":
        server.publish(name, name)
    receives(page, ["message", "b", "b"], ["message", "c", "c"])
    # An element that is moved in the page stays the same element.
    page.evaluate("document.body.prepend(element)")
    server.publish("b", "moved")
    receives(page, ["message", "b", "b"], ["message", "c", "c"], ["message", "b", "moved"])
    assert page.evaluate("element.push == before")
    page.evaluate("element.remove()")
    until(lambda: status(server.directory)["streams"] == 0)
    assert page.evaluate("[element.push, element.getAttribute('state')]") == [
        None,
        "closed",
    ]


def test_the_element_begins_at_the_position_that_it_is_given(
    server: Server, windows: Windows
) -> None:
    since = server.get("/position")
    say(server, "a", 1)
    page = element(windows.open(f"{server.url}/ping"), channels="a", since=since)
    receives(page, ["message", "a", 1])


LIBRARIES = ROOT / "tests" / "clients" / "node_modules"


def test_alpine_needs_only_the_element(server: Server, windows: Windows) -> None:
    page = windows.open(f"{server.url}/ping")
    page.evaluate("""document.body.innerHTML = `
        <div x-data="{said: []}">
          <push-source src="/stream" channels="a" @message="said.push($event.detail.data)">
          </push-source>
          <b x-text="said.join(' ')"></b>
        </div>`; window.element = document.querySelector("push-source")""")
    page.add_script_tag(path=LIBRARIES / "alpinejs" / "dist" / "cdn.js")
    page.evaluate("import('/push/element.js')")
    is_open(page)
    say(server, "a", "x", "y")
    page.wait_for_function("document.querySelector('b').textContent == 'x y'")


def test_htmx_needs_only_the_element(server: Server, windows: Windows) -> None:
    page = windows.open(f"{server.url}/ping")
    page.evaluate("""document.body.innerHTML = `
        <push-source src="/stream" channels="a"></push-source>
        <b hx-get="/ping" hx-trigger="message from:push-source">old</b>`;
        window.element = document.querySelector("push-source")""")
    page.add_script_tag(path=LIBRARIES / "htmx.org" / "dist" / "htmx.js")
    page.evaluate("htmx.process(document.body); import('/push/element.js')")
    is_open(page)
    say(server, "a", 1)
    page.wait_for_function("document.querySelector('b').textContent == 'pong'")


# What Juggernaut had.

JUGGERNAUT = """async options => {
    const {Juggernaut} = await import("/push/juggernaut.js");
    window.Juggernaut = Juggernaut;
    window.received = [];
    window.note = name => (...args) => received.push([name, ...args]);
    window.jug = new Juggernaut(options);
    for (const name of ["connect", "disconnect", "reconnect"]) jug.on(name, note(name));
}"""


def juggernaut(server: Server, windows: Windows, **options: t.Any) -> Page:
    page = windows.open(f"{server.url}/ping")
    page.evaluate(JUGGERNAUT, {"base": 100, **options})
    return page


def subscribed(page: Page, *channels: str) -> Page:
    for name in channels:
        page.evaluate("name => jug.subscribe(name, note(name))", name)
    page.wait_for_function("jug.sessionID && received.some(([name]) => name == 'connect')")
    page.evaluate("received.length = 0")
    return page


def test_host_and_port_name_the_server_of_the_stream(
    server: Server, windows: Windows
) -> None:
    page = juggernaut(server, windows, host="127.0.0.1", port=server.port, secure=False)
    subscribed(page, "a")
    say(server, "a", 1)
    receives(page, ["a", 1])


def test_a_channel_has_several_callbacks(server: Server, windows: Windows) -> None:
    page = subscribed(juggernaut(server, windows), "a")
    page.evaluate("jug.subscribe('a', note('again'))")
    say(server, "a", {"x": [1, None]})
    receives(page, ["a", {"x": [1, None]}], ["again", {"x": [1, None]}])
    said = "(() => { try { jug.subscribe() } catch (error) { return error.message } })()"
    assert page.evaluate(said) == "Must provide a channel"


def test_unsubscribe_drops_all_callbacks_for_good(server: Server, windows: Windows) -> None:
    page = subscribed(juggernaut(server, windows), "a", "b")
    page.evaluate("jug.subscribe('a', note('again')); jug.unsubscribe('a')")
    server.kill_without_readers()
    page.wait_for_function("received.length == 1")
    server.start()
    page.wait_for_function("received.length == 3")
    say(server, "a", 1)
    say(server, "b", 2)
    receives(page, ["disconnect"], ["connect"], ["reconnect"], ["b", 2])


def test_events_can_be_bound_and_unbound(server: Server, windows: Windows) -> None:
    page = subscribed(juggernaut(server, windows), "a")
    page.evaluate("""() => {
        jug.on("data", note("data"));
        jug.bind("message", ({channel, data}) => received.push(["message", channel, data]));
        jug.bind("a:data", note("a:data"));
    }""")
    say(server, "a", 1)
    first = ["message", "a", 1], ["data", "a", 1], ["a", 1], ["a:data", 1]
    receives(page, *first)
    page.evaluate("jug.unbind('message'); jug.unbind('a:data')")
    say(server, "a", 2)
    receives(page, *first, ["data", "a", 2])


def test_meta_and_written_data_are_sent_to_a_view(server: Server, windows: Windows) -> None:
    page = subscribed(juggernaut(server, windows, meta={"user_id": 1}), "written")
    other = subscribed(juggernaut(server, windows), "written")
    page.evaluate("jug.write({type: 'event', data: 'x'})")
    receives(other, ["written", {"meta": {"user_id": 1}, "type": "event", "data": "x"}])
    # All but the sender receive it. The view knows the sender by its sessionID.
    other.evaluate("jug.write(new Juggernaut.Message({type: 'event', data: 'y'}))")
    receives(page, ["written", {"type": "event", "data": "y"}])
    assert len(other.evaluate("received")) == 1


def test_a_message_is_converted_to_json_and_back(server: Server, windows: Windows) -> None:
    page = juggernaut(server, windows)
    assert page.evaluate("""() => {
        const message = Juggernaut.Message.fromJSON('{"channel": "a", "data": [1]}');
        return [message instanceof Juggernaut.Message, message.channel, message.toJSON()];
    }""") == [True, "a", '{"channel":"a","data":[1]}']


def test_nothing_is_missed_after_a_reconnect(server: Server, windows: Windows) -> None:
    page = subscribed(juggernaut(server, windows), "a")
    # This includes channels that were subscribed to while it was connected.
    page.evaluate("jug.subscribe('later', note('later'))")
    say(server, "later", 0)
    page.wait_for_function("received.length == 1")
    called = page.evaluate("jug.sessionID")
    server.kill_without_readers()
    page.wait_for_function("received.length == 2")
    with publisher(server) as other:
        other.publish("a", 1)
        other.publish("later", 2)
    server.start()
    back = ["disconnect"], ["connect"], ["reconnect"]
    page.wait_for_function("received.length == 6")
    received = page.evaluate("received")
    assert received[:1] + [one for one in received[1:] if len(one) == 1] == [
        ["later", 0],
        *back,
    ]
    assert [one for one in received[1:] if len(one) == 2] == [["a", 1], ["later", 2]]
    assert page.evaluate("jug.sessionID").split(".")[0] == called.split(".")[0]


def test_the_script_also_exists_as_a_classic_script(
    server: Server, windows: Windows
) -> None:
    page = windows.open(f"{server.url}/ping")
    for name in "push", "extras", "items", "presence", "element", "juggernaut", "follow":
        page.add_script_tag(url=f"/push/{name}.classic.js")
    page.evaluate("""() => {
        window.received = [];
        window.jug = new FlaskPush.Juggernaut();
        window.Source = FlaskPush.PushEventSource;
        jug.subscribe("a", data => received.push(data));
    }""")
    page.wait_for_function("jug.sessionID")
    say(server, "a", 1)
    receives(page, 1)
    assert page.evaluate("[Source.CLOSED, typeof FlaskPush.connect]") == [2, "function"]
    assert page.evaluate("typeof FlaskPush.follow") == "function"


def test_any_process_can_publish_to_many_channels(server: Server, windows: Windows) -> None:
    page = subscribed(juggernaut(server, windows), "a", "b")
    page.evaluate("void jug.on('message', message => received.push({...message, id: ''}))")
    with publisher(server) as other:
        other.publish_many([Event(name, '{"n":1}') for name in ("a", "b", "c")])
    first, second = ({"channel": name, "data": {"n": 1}, "id": ""} for name in "ab")
    receives(page, first, ["a", {"n": 1}], second, ["b", {"n": 1}])


def test_the_sender_is_excluded_and_browsers_do_not_see_it(
    server: Server, windows: Windows
) -> None:
    pages = [subscribed(juggernaut(server, windows), "a") for _ in range(2)]
    pages[1].evaluate(
        "void jug.on('message', message => received.push(Object.keys(message)))"
    )
    with publisher(server) as other:
        other.publish("a", 1, exclude=pages[0].evaluate("jug.sessionID"))
        other.publish("a", 2)
    receives(pages[0], ["a", 2])
    keys = ["channel", "data", "id"]
    receives(pages[1], keys, ["a", 1], keys, ["a", 2])


def test_a_roster_has_each_user_once_and_until_the_last_window_is_closed(
    tmp_path: Path, windows: Windows
) -> None:
    with serve(gunicorn, tmp_path, "-w", "2", PUSH_PRESENCE_GRACE=0.2) as server:
        with connect(f"{server.url}/stream?channel=b&watch=a") as roster:
            events = (event for event in roster if event.item)
            url = "/stream?user=7&present=a"
            pages = [
                subscribed(juggernaut(server, windows, url=url), "a") for _ in range(2)
            ]
            joined = next(events)
            assert (joined.type, joined.json["info"]) == ("push:joined", {"name": "7!"})
            assert json.loads(server.get("/present?channel=a"))["count"] == 1
            pages[0].close()
            # If that were a leave, it would come before this one.
            with connect(f"{server.url}/stream?channel=b&user=8&present=a") as other:
                other.opened()
                assert next(events).json["user"] == "8"
            left = next(events)
            assert (left.type, left.json) == ("push:left", {"channel": "a", "user": "8"})
            pages[1].close()
            left = next(events)
            assert (left.type, left.json) == ("push:left", {"channel": "a", "user": "7"})


# Serving the scripts.


def test_a_script_that_is_cached_forever_imports_scripts_that_are() -> None:
    for name in "extras.js", "items.js", "presence.js", "element.js", "juggernaut.js":
        assert f'from"./push.js?v={version()}"' in script(name).text
    for name in "push.js", "push.classic.js", "follow.js", "follow.classic.js":
        assert f'import("./extras.js?v={version()}")' in script(name).text
    for name in "extras.d.ts", "items.d.ts", "element.d.ts", "juggernaut.d.ts":
        assert 'from "./push.js"' in script(name).text


def test_each_row_about_juggernaut_names_its_test() -> None:
    rows = re.findall(r"^\| J.*", (ROOT / "docs" / "juggernaut.md").read_text(), re.M)
    named = {name for row in rows for name in re.findall(r"`(test_\w+)`", row)}
    assert named and named <= {name for name in globals() if name.startswith("test_")}
