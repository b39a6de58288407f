"""The page *Cloudflare, AWS ALB, Heroku, Render, Fly*: its settings suit the limits that it
names."""

from __future__ import annotations

import os
import re
import typing as t

import pytest
from flask import Flask
from support.pages import blocks
from support.pages import DOCS

from flask_push import Push
from flask_push._config import Config

PAGE = DOCS["hosting"]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in re.findall(r"^\| \[.*\|$", PAGE, re.MULTILINE)
]
IDLE = [row for row in ROWS if "without a new byte" in row[1]]
SETTINGS = [code for code in blocks(PAGE, "python") if "app.config[" in code]


def last_number(text: str) -> int:
    return int(re.findall(r"[\d,]+", text)[-1].replace(",", ""))


@pytest.mark.parametrize("row", IDLE, ids=lambda row: re.sub(r"\W.*", "", row[0][1:]))
def test_heartbeats_are_more_frequent_than_a_host_needs(row: list[str]) -> None:
    assert Config().heartbeat * 2 < last_number(row[1])
    assert row[2] == "nothing"


@pytest.mark.parametrize("code", SETTINGS)
def test_a_setting_of_the_page_is_accepted(
    code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "rediss://h.example.org:6379")
    app = Flask("page", instance_path="/nonexistent")
    exec(code, {"app": app, "os": os})
    assert Push(app) is not None


LIFETIMES = [code for code in SETTINGS if "PUSH_LIFETIME" in code]


@pytest.mark.parametrize("code", LIFETIMES)
def test_a_stream_ends_before_the_host_cuts_it(code: str) -> None:
    ((lifetime, limit),) = re.findall(r"= (\d+)  # for a timeout of ([\d,]+)", code)
    assert int(lifetime) * 1.1 < last_number(limit)


def test_the_table_has_the_first_lifetime() -> None:
    (cut,) = [row for row in ROWS if "each answer" in row[1]]
    assert (
        f"{last_number(cut[2])}  # for a timeout of {last_number(cut[1])}" in LIFETIMES[0]
    )


def test_a_host_is_configured_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_PUSH_BROKER_URL", "rediss://h.example.org:6379")
    monkeypatch.setenv("FLASK_PUSH_LIFETIME", "250")
    names: dict[str, t.Any] = {"app": Flask("page"), "Push": Push}
    exec(blocks(PAGE, "python")[0], names)
    assert names["app"].config["PUSH_LIFETIME"] == 250


def test_each_host_of_the_table_has_a_section() -> None:
    linked = re.findall(r"\]\(#([\w-]+)\)", "".join(row[0] for row in ROWS))
    sections = [
        re.sub(r"[^\w]+", "-", title.lower())
        for title in re.findall(r"^## (.+)$", PAGE, re.M)
    ]
    assert {*linked} < {*sections} and len(linked) == 7
