"""A process holds runs."""

from __future__ import annotations

import pytest
from support.each_store import url as url
from support.runs import publisher as publisher
from support.runs import record_now

from flask_push import Publisher
from flask_push import RunBusy


def test_a_process_has_one_name_for_all_of_its_runs(publisher: Publisher) -> None:
    with publisher.run("a"), publisher.run("b"):
        names = {record_now(publisher, name).process for name in "ab"}
        assert len(names) == 1 and "" not in names
        with pytest.raises(RunBusy):
            publisher.run("a")
