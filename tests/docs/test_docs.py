"""The docs are complete and true: names, defaults, links, code that does what it says."""

from __future__ import annotations

import ast
import collections.abc as cabc
import inspect
import json
import math
import re
import subprocess
import sys
import typing as t
import zlib
from pathlib import Path

import pytest
from support.doc_pages import README
from support.house import MAY_IMPORT
from support.house import MODULES
from support.house import WRONG
from support.pages import commands
from support.pages import DOCS
from support.pages import source_of
from support.servers import ROOT

import flask_push
import flask_push.ag_ui
import flask_push.ai_sdk
import flask_push.asgi
import flask_push.brokers
import flask_push.client
import flask_push.compat.flask_sse
import flask_push.metrics
import flask_push.sqlalchemy
import flask_push.sse
import flask_push.testing
import flask_push.testing.fixtures
from flask_push import _changes
from flask_push import _event
from flask_push import _presence_checks
from flask_push import _run_publisher
from flask_push import _run_writing
from flask_push import _signed
from flask_push import Position
from flask_push import sse
from flask_push._config import Config
from flask_push._config import KEYS
from flask_push._delivery import gzip
from flask_push._delivery import last_event_id
from flask_push._delivery import presence_wire
from flask_push._delivery import replay
from flask_push._delivery import roster
from flask_push._delivery import run_record
from flask_push._delivery import run_rows
from flask_push._delivery import run_wires
from flask_push._delivery import tickets
from flask_push._delivery import wire
from flask_push._delivery.last_event_id import POSITIONS
from flask_push._event import ids
from flask_push._hub import connection
from flask_push._hub import fanout
from flask_push._hub import main
from flask_push._hub import nginx
from flask_push._hub import streams
from flask_push._hub import tokens
from flask_push.brokers import MAX_OWN_BYTES
from flask_push.brokers import MAX_OWN_ENTRIES
from flask_push.brokers.items import OWN_BOUNDS
from flask_push.sse import Parser

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


MAKEFILE = (ROOT / "Makefile").read_text()


SOURCE = {name: path.read_text() for name, path in MODULES.items()}


PUBLIC = (
    *(
        flask_push,
        flask_push.ag_ui,
        flask_push.ai_sdk,
        flask_push.asgi,
        flask_push.client,
        flask_push.metrics,
        flask_push.compat.flask_sse,
        flask_push.sqlalchemy,
        flask_push.sse,
    ),
    *(flask_push.brokers, flask_push.testing, flask_push.testing.fixtures),
)


def prose(text: str) -> str:
    """The text without its code, in one line."""
    text = re.sub(r"^```.*?^```$|`[^`]*`", "", text, flags=re.MULTILINE | re.DOTALL)
    return " ".join(text.split())


# The configuration.

SECTIONS = dict(
    re.findall(
        r"^:::\{py:data\} (\w+)\n(.*?)^:::$", DOCS["config"], re.MULTILINE | re.DOTALL
    )
)


def test_every_key_has_its_section_and_no_other() -> None:
    assert sorted(SECTIONS) == sorted(KEYS)


def default_of(key: str) -> t.Any:
    return getattr(Config(), key[5:].lower())


@pytest.mark.parametrize("key", KEYS)
def test_a_key_has_the_default_that_the_docs_say(key: str) -> None:
    (default,) = re.findall(r"^Default: `(.*?)`", SECTIONS[key], re.MULTILINE)
    assert ast.literal_eval(default) == default_of(key)


NUMBERS = [key for key in KEYS if type(default_of(key)) in (int, float)]


@pytest.mark.parametrize("key", NUMBERS)
def test_a_key_has_the_bounds_that_the_docs_say(key: str) -> None:
    ((least, most),) = re.findall(r"From\s`(.*?)`\sto\s`(.*?)`", SECTIONS[key])
    least, most = ast.literal_eval(least), ast.literal_eval(most)
    whole = "a whole number" in " ".join(SECTIONS[key].split())
    check = KEYS[key]
    assert check(least) == check(most) == ""
    if whole:
        assert check(least - 1) and check(most + 1) and check(most - 0.5)
    else:
        assert check(math.nextafter(least, -math.inf))
        assert check(math.nextafter(most, math.inf))
        assert not check((least + most) / 2 + 0.1)


COUNTS = (
    "users bytes changes characters each entries events runs blocks sets names types"
    " streams"
).split()


#: Of the section *Bounds*: what can grow, its limit in words, and the source's numbers.
BOUNDS: list[tuple[str, str, list[int]]] = [
    ("A channel's name", "64 bytes", [_event.MAX_CHANNEL]),
    (
        "What waits for the commit",
        "10,000 changes, and 16 MiB",
        [_changes.MAX_CHANGES, _changes.MAX_BYTES],
    ),
    ("An event's type, and its key", "256 bytes", [_event.MAX_TYPE]),
    ("What is shown of a user", "1,024 bytes", [_presence_checks.MAX_INFO]),
    ("What a list shows of a run", "4,096 bytes", [_run_publisher.MAX_INFO]),
    ("The text of a run's progress", "1,000 characters", [_run_writing.MAX_TEXT]),
    ("Runs of a channel that have ended", "2 runs", [run_record._MOST_PAST]),
    (
        "Events that `write_all`",
        "1,000 events, and 64 KiB",
        [run_rows.MAX_PACKED, run_rows.MAX_PACKED_BYTES],
    ),
    ("Runs of a store that are queued", "100,000 runs", [OWN_BOUNDS[0]]),
    ("A signed address", "3,500 characters", [_signed._MOST]),
    ("Users whom a channel", "1,000 users", [roster.MAX_MEMBERS]),
    ("Events of which slow browsers", "16 MiB", [streams._MAX_PARTIAL_BYTES]),
    (
        "Frames made for browsers that resume together",
        "8 runs of 64 KiB, of which the last event may take 256 KiB more",
        [replay._MAX_RUNS, streams._READ_BYTES, replay._LONG_BYTES],
    ),
    (
        "Compressed blocks",
        "16 blocks of up to 256 KiB of text",
        [gzip._MAX_BLOCKS, gzip._LONG_BYTES],
    ),
    (
        "What the hub has ready to send to many",
        "64 sets, or 4 MiB and one set",
        [fanout._MAX_GROUPS, fanout._MAX_BYTES],
    ),
    (
        "What the hub caches",
        "4,096 names, 1,024 types and 1,024 streams",
        [
            cached.cache_parameters()["maxsize"]
            for cached in (ids._escape, sse.type_line, connection._shared_rest_of)
        ],
    ),
    ("What the kernel buffers", "256 KiB", [2 * connection._SEND_BUFFER]),
    ("What a browser sends on an open stream", "1 MiB", [connection._MAX_RECEIVED_BYTES]),
    ("Tokens for nginx", "1,000 each", [tokens.MOST]),
    ("Tokens for nginx", "1,000 each", [nginx.MOST_CONNECTIONS]),
    ("A request from nginx", "64 KiB", [nginx._REQUEST_BYTES]),
    ("A return ticket", "2,048 bytes", [tickets._MOST]),
    (
        "The query and the cookies that a ticket is for",
        "4,096 bytes and 16 KiB",
        [tickets._MOST_QUERY, tickets._MOST_COOKIES],
    ),
    ("The position that a browser sends", "256 bytes", [last_event_id._LONGEST]),
    (
        "Disconnects that a hub knows",
        "10,000 entries and 1 MiB of text",
        [MAX_OWN_ENTRIES, MAX_OWN_BYTES],
    ),
    ("A hub's `hub.log`", "1 MB", [main._LOG_BYTES]),
]


UNITS = {"MiB": 2**20, "KiB": 2**10, "MB": 10**6, **dict.fromkeys(COUNTS, 1)}


@pytest.mark.parametrize(("name", "words", "numbers"), BOUNDS)
def test_a_bound_is_the_number_that_the_source_has(
    name: str, words: str, numbers: list[int]
) -> None:
    said = re.findall(rf"([\d,]+) ({'|'.join(UNITS)})", words)
    assert [int(n.replace(",", "")) * UNITS[unit] for n, unit in said] == numbers
    (row,) = re.findall(rf"^\| {name}.*", DOCS["config"], re.MULTILINE)
    assert words in row.split(" | ")[1]


def test_a_bound_that_has_a_key_names_it() -> None:
    _, _, section = DOCS["config"].partition("## Bounds")
    limits = {key for key in KEYS if re.search("_(MAX|KEEP|BYTES|RETENTION|LIFETIME)", key)}
    assert limits <= set(re.findall(r"\{data\}`(\w+)`", section))


# The API.


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every Python name that the built docs have a place for."""
    built = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "sphinx", "-qW", str(ROOT / "docs"), str(built)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    data = (built / "objects.inv").read_bytes().split(b"\n", 4)[4]
    lines = zlib.decompress(data).decode().splitlines()
    return {line.split()[0] for line in lines if " py:" in line}


def resolve(name: str) -> t.Any:
    """What a dotted name stands for, or nothing if it is no name of a module's."""
    for module in sorted(PUBLIC, key=lambda m: -len(m.__name__)):
        rest = name.removeprefix(f"{module.__name__}.")
        if rest != name and "." not in rest:
            return getattr(module, rest)
    return None


def test_every_public_name_is_documented(documented: set[str]) -> None:
    places = {id(resolve(name)) for name in documented}
    for module in PUBLIC:
        for name in module.__all__:
            assert id(getattr(module, name)) in places, f"{module.__name__}.{name}"


CLASSES = [
    flask_push.compat.flask_sse.Message,
    flask_push.compat.flask_sse.ServerSentEventsBlueprint,
    flask_push.client.Source,
    *(flask_push.Push, flask_push.Publisher, flask_push.Position, flask_push.sse.Parser),
    *(flask_push.Run, flask_push.Later, flask_push.Held),
    *(flask_push.brokers.Broker, flask_push.brokers.Feed, flask_push.brokers.Sink),
]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_public_method_is_documented(cls: type, documented: set[str]) -> None:
    places = {place.rpartition(f".{cls.__name__}.")[2] for place in documented}
    ours = [each for each in cls.__mro__ if each.__module__.startswith("flask_push")]
    names = {name for each in ours for name in vars(each) if not name.startswith("_")}
    assert names <= places


def test_every_option_is_explained() -> None:
    functions: list[cabc.Callable[..., t.Any]]
    functions = [flask_push.testing.read_events, flask_push.Publisher.__init__]
    functions.append(flask_push.connect)
    for cls in flask_push.Push, flask_push.Publisher:
        functions += [
            f for n, f in inspect.getmembers(cls, inspect.isfunction) if n[0] != "_"
        ]
    pages = [text for name, text in DOCS.items() if name != "api"]
    for function in functions:
        for option in inspect.signature(function).parameters.values():
            if option.kind is option.KEYWORD_ONLY:
                word = re.compile(rf"\b{option.name}=")
                assert any(map(word.search, pages)), (function, option.name)


# The wire.


def own_events() -> dict[str, dict[str, t.Any]]:
    """What we say ourselves, by its type."""
    position = Position("aaaaa", 1)
    data = wire.opening("x", ["a"], position) + wire.gap(["a"], "unknown", 1, position)
    data += wire.first_bytes(500, visible=True) + wire.heartbeat(15, visible=True)
    data += wire.disconnect("logged out") + wire.expired()
    data += wire.all_items(["a"]) + wire.whole(["a"], position)
    tails = [wire.unset_tail("a", "i", 1), presence_wire.count_tail("a", 5, 1)]
    tails.append(presence_wire.joined_tail("a", "ada", b"{}", 1))
    tails.append(presence_wire.left_tail("a", "ada", 1))
    data += b"".join(wire.one_of_all(str(position), tail) for tail in tails)
    data += run_events()
    said = {event.type: json.loads(event.data) for event in Parser().feed(data)}
    probe = wire.probe("a", "x")
    return {**said, probe.type: json.loads(probe.data)}


def run_events() -> bytes:
    """What a run says of itself."""
    made = run_record.make("a", None, "x", "key", 600)
    assert isinstance(made, run_record.Transition) and made.changes[1].data
    status = made.changes[1].data.encode()
    progress = b'{"done":1,"total":2,"text":""}'
    row = run_wires.Row("aaaaa", 1, "a", run_rows.PROGRESS, [progress])
    said = run_wires.WIRES["push"].row(row)
    return run_wires.status_frame(row._replace(events=[status])) + said


def test_every_header_is_on_the_wire() -> None:
    head = wire.head("200 OK", wire.HEADERS.items(), "today").decode()
    for line in head.split("\r\n")[1:]:
        if line and not line.startswith("Date:"):
            assert f"`{line}`\n: " in DOCS["wire"], line


def test_every_event_of_ours_is_on_the_wire_with_its_fields() -> None:
    said = own_events()
    found = set(re.findall('"(push:.+?)"', "".join(SOURCE.values())))
    assert {*said} == found
    for type, fields in said.items():
        (section,) = re.findall(
            rf"^### {type}\n(.*?)(?=^##|\Z)", DOCS["wire"], re.MULTILINE | re.DOTALL
        )
        assert re.findall(r"^`(\w+)`\n: ", section, re.MULTILINE) == list(fields)
        assert f"event: {type}\n" in section


def test_every_reason_of_a_gap_is_explained() -> None:
    for reason in "trimmed", "restarted", "unknown":
        assert f"`{reason}`" in DOCS["wire"]
        assert f"`{reason}`\n: " in DOCS["resume"]
        assert any(f'"{reason}"' in text for text in SOURCE.values())


def test_every_parameter_of_a_request_is_on_the_wire() -> None:
    asked = re.findall(r"(?:args|words)\.get(?:list)?\(\"(\w+)\"", SOURCE["_request"])
    assert {*asked} == {"poll", "visible", "channel", "connection", "items"}
    assert not re.search(r"args\.", SOURCE["_extension"] + SOURCE["_response"])
    words = ["channel", "connection", "holds", "poll=1", "visible=1", "items=1"]
    for name in *POSITIONS, *words, "Last-Event-ID":
        assert f"`{name}`" in DOCS["wire"], name


# What the log says.


LEVELS = "debug", "info", "warning", "error", "exception", "critical"


LOGGERS = "logger", "quiet", "_quiet"


def lines_of_the_log() -> set[str]:
    found = set()
    for text in SOURCE.values():
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            # A logger, or an object's own that repeats no line within a minute.
            value = node.func.value
            if getattr(value, "id", getattr(value, "attr", "")) in LOGGERS:
                if node.func.attr not in LEVELS:
                    # What `log` repeats in a worker, the hub has said.
                    continue
                (line, *_) = node.args
                assert isinstance(line, ast.Constant)
                level = {"exception": "error"}.get(node.func.attr, node.func.attr)
                text = re.sub("%[a-z]", "…", str(line.value)).replace("\n", " ")
                found.add(f"| {level} | {text} |")
    return found


def test_every_line_of_the_log_says_what_to_do() -> None:
    levels = "|".join(LEVELS)
    rows = re.findall(rf"^(\| (?:{levels}) \| .*? \|)", DOCS["log-lines"], re.MULTILINE)
    assert set(rows) == lines_of_the_log()


# What the source and the docs say of each other.


def test_every_law_that_the_source_names_stands_on_its_page() -> None:
    _, _, laws = DOCS["how-it-works"].partition("## The laws")
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", laws, re.MULTILINE)]
    assert numbers == [*range(1, 61)]
    runs = [int(number) for number in re.findall(r"^\*\*R(\d+)\.\*\*", laws, re.MULTILINE)]
    assert runs == [*range(40, 69)]
    named = set()
    for text in SOURCE.values():
        for found in re.findall(r"\blaws? (\d+)(?: and (\d+))?", " ".join(text.split())):
            named |= {int(n) for n in found if n}
    assert named and named <= set(numbers)
    text = " ".join(" ".join(SOURCE.values()).split())
    waiting = [int(number) for number in re.findall(r"^\*\*T(\d+)\.\*\*", laws, re.M)]
    assert waiting == [*range(1, 15)]
    for letter, known in ("R", runs), ("T", waiting):
        said = rf"\blaws? {letter}(\d+)(?:(?: and|,| to) {letter}(\d+))?"
        pairs = re.findall(said, text)
        assert pairs and {int(n) for pair in pairs for n in pair if n} <= set(known)


def test_every_page_that_the_source_names_is_there() -> None:
    titles = {text.partition("\n")[0].removeprefix("# ") for text in DOCS.values()}
    for name, text in SOURCE.items():
        text = re.sub(r"[\s#]+", " ", text)
        for title in re.findall(r"\bpage \*(.+?)\*", text):
            assert title in titles, (name, title)


def test_every_test_that_the_docs_name_is_there() -> None:
    named = {name for text in DOCS.values() for name in re.findall(r"`(test_\w+)`", text)}
    tests = "".join(path.read_text() for path in (ROOT / "tests").glob("*/*.py"))
    assert named and named <= set(re.findall(r"^def (test_\w+)", tests, re.MULTILINE))


def test_the_page_for_contributors_names_each_folder() -> None:
    _, _, text = CONTRIBUTING.partition("## The house")
    named = {
        name.rstrip("/").removesuffix(".py")
        for name in re.findall(r"^\| `(\S+)`", text, re.M)
    }
    assert named == MAY_IMPORT.keys() - {"app", "_config", "_pyinstaller"}


TEXTS = {"README": README, **DOCS}


@pytest.mark.parametrize("name", TEXTS)
def test_things_have_one_name_in_the_docs_too(name: str) -> None:
    assert not WRONG.findall(prose(TEXTS[name]))


# Links and commands.

PAGES = [
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"),
    ROOT / "examples" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", link):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", source_of(target), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings]
            assert slugs.count(anchor) == 1, link


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_has_no_lines_that_a_merge_has_left(path: Path) -> None:
    assert not re.findall(r"^(?:<{7}|={7}|>{7}).*", path.read_text(), re.MULTILINE)


def recipe(target: str) -> list[str]:
    (lines,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    return [line.strip().replace("$(BIN)", ".venv/bin") for line in lines.splitlines()]


def test_the_two_commands_run_what_is_written_of_them() -> None:
    for text in README, CONTRIBUTING:
        assert recipe("test") in commands(text)
        for target in re.findall(r"`make (\w+)`", text):
            assert recipe(target)
    assert recipe("chat")[0] in [block[-1] for block in commands(README)]
    assert "--soak" in recipe("soak")[0]


def test_the_readme_is_read_in_a_minute() -> None:
    assert len(README.splitlines()) < 110
