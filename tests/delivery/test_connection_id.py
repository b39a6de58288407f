"""The id of a connection, and the secret without which it excludes nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_push._delivery.connection_id import new_connection_id
from flask_push._delivery.connection_id import public_id_of


def test_a_new_id_is_a_public_part_and_a_secret_that_prove_each_other() -> None:
    ids = {new_connection_id() for _ in range(100)}
    assert len(ids) == 100
    for connection in ids:
        assert re.fullmatch(r"[\w-]{16}\.[\w-]{16}", connection, re.A)
        assert public_id_of(connection) == connection.partition(".")[0]


def test_a_browser_that_reconnects_keeps_its_public_part() -> None:
    name, _, secret = new_connection_id().partition(".")
    assert new_connection_id(name) == name
    # Without its secret, it excludes no connection.
    assert public_id_of(new_connection_id(name)) == ""
    assert public_id_of(f"{name}.{secret}") == name


@pytest.mark.parametrize(
    "asked",
    ["", "x" * 15, "x" * 17, "x" * 15 + ".", "x" * 15 + "\n", "é" * 16, "x" * 16 + "\n"],
)
def test_a_public_part_of_another_form_is_replaced(asked: str) -> None:
    assert public_id_of(new_connection_id(asked)) not in ("", asked)


@given(st.none() | st.text())
def test_other_text_has_no_public_part(text: str | None) -> None:
    assert public_id_of(text) == ""


def test_the_secret_has_to_be_that_of_the_public_part() -> None:
    one, other = new_connection_id(), new_connection_id()
    name, _, secret = one.partition(".")
    for wrong in name, f"{name}.", f".{secret}", f"{name}.{other.partition('.')[2]}":
        assert public_id_of(wrong) == ""
    assert public_id_of(f"{one}x") == public_id_of(f"{one}.") == ""
