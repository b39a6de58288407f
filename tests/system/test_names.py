"""Random names."""

from __future__ import annotations

from flask_push._system.names import new_name


def test_a_new_name_has_digits_and_letters_and_is_not_given_again() -> None:
    names = [new_name() for _ in range(100)]
    assert len({*names}) == 100
    assert all(len(name) == 12 and name.isascii() and name.isalnum() for name in names)
