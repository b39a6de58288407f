"""What stores that keep runs have in common, and the files of those that forget rows."""

from __future__ import annotations

import pytest

from flask_push._delivery import run_rows
from flask_push.brokers import Retention
from flask_push.brokers.items import bounds
from flask_push.brokers.items import OWN_BOUNDS
from flask_push.brokers.runs import check_own_kind
from flask_push.brokers.runs import ENDED
from flask_push.brokers.runs import RUN


@pytest.mark.parametrize("kind", ["", "RUN", "a b", "x" * 33])
def test_only_items_of_an_own_kind_are_forgotten(kind: str) -> None:
    check_own_kind("run")
    with pytest.raises(ValueError, match=r"kind"):
        check_own_kind(kind)


def test_a_run_may_have_more_rows_than_other_own_items() -> None:
    assert bounds("own", Retention()) == OWN_BOUNDS
    count, size = bounds(RUN, Retention(items=1, item_bytes=1))
    assert count == 10 * OWN_BOUNDS[0] and size == 4 * OWN_BOUNDS[1]


def test_a_store_knows_runs_by_the_names_that_they_have() -> None:
    assert (RUN, ENDED) == (run_rows.RUN, run_rows.ENDED)
