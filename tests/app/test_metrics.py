"""The metrics in a registry of prometheus-client."""

from __future__ import annotations

import collections.abc as cabc
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client import Counter
from prometheus_client import generate_latest
from prometheus_client.openmetrics import exposition
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as of_older
from support.apps import make_app
from support.servers import free_port

from flask_push import Push
from flask_push._delivery.figure_rows import FIGURES_IN_TOTAL
from flask_push._delivery.figure_rows import FIGURES_OF_HUBS
from flask_push._delivery.figure_rows import HubFigures
from flask_push._delivery.figures import FAMILIES
from flask_push._delivery.figures import Figures
from flask_push._delivery.figures import Times
from flask_push.brokers import ItemChange
from flask_push.metrics import Collector


@pytest.fixture
def push() -> cabc.Iterator[Push]:
    push = Push()
    app = make_app(push, PUSH_METRICS=True)
    yield push
    with app.app_context():
        push._services().close()


def store_some(push: Push) -> None:
    """As two hubs do, with a value for each sample."""
    for name, factor in ("one", 1), ("two", 3):
        values: dict[str, int] = {}
        for number, family in enumerate(FAMILIES, 1):
            if family.kind == "histogram":
                times = Times(family)
                for micros in range(0, 20_000_000 * factor, 190_000):
                    times.add(micros)
                values |= times.to_json()
            else:
                names = [f"{family.name}:{v}" if v else family.name for v in family.values]
                values |= dict.fromkeys(names or [family.name], number * factor)
        row = HubFigures(name, Figures(values)).to_json()
        channels = FIGURES_OF_HUBS, FIGURES_IN_TOTAL
        broker: t.Any = push._services().broker
        broker.change([ItemChange(channel, name, row) for channel in channels])


def read(text: str, openmetrics: bool) -> dict[str, t.Any]:
    parse: t.Any = text_string_to_metric_families if openmetrics else of_older
    return {
        family.name: (
            *(family.type, family.documentation, family.unit),
            sorted((s.name, sorted(s.labels.items()), s.value) for s in family.samples),
        )
        for family in parse(text)
    }


@pytest.mark.parametrize("openmetrics", [True, False])
def test_a_registry_shows_the_same_as_the_view(push: Push, openmetrics: bool) -> None:
    registry = CollectorRegistry()
    registry.register(Collector(push))
    generate = exposition.generate_latest if openmetrics else generate_latest
    (app,) = push._states
    accept = {"Accept": "application/openmetrics-text"} if openmetrics else {}
    for _ in range(2):
        shown = read(generate(registry).decode(), openmetrics)
        with app.test_request_context(headers=accept):
            text = push.metrics().get_data(as_text=True)
        assert shown == read(text, openmetrics)
        store_some(push)
    values = [value for *_, samples in shown.values() for _, _, value in samples]
    assert all(values), "two hubs have stored a value for each"


def test_a_registry_of_the_apps_own_metrics_shows_both(push: Push) -> None:
    registry = CollectorRegistry(auto_describe=True)
    Counter("orders", "Orders.", registry=registry).inc()
    registry.register(Collector(push))
    text = generate_latest(registry).decode()
    assert "orders_total 1.0" in text and "flask_push_up 1.0" in text
    with pytest.raises(ValueError, match="flask_push_up"):
        registry.register(Collector(push))


def test_it_is_registered_before_the_app_is_there() -> None:
    """And before a server forks its workers: that reads no store."""
    push = Push()
    registry = CollectorRegistry(auto_describe=True)
    registry.register(collector := Collector(push))
    assert repr(collector) == "<Collector <Push []>>"
    with pytest.raises(RuntimeError, match="init_app"):
        generate_latest(registry)
    app = make_app(push)
    with pytest.raises(RuntimeError, match="Set PUSH_METRICS to True"):
        generate_latest(registry)
    assert push._states[app].services().broker
    push._services().close()


def test_a_store_that_cant_be_read_leaves_the_apps_own_metrics(
    caplog: pytest.LogCaptureFixture,
) -> None:
    push = Push()
    url = f"redis://127.0.0.1:{free_port()}/0"
    app = make_app(push, PUSH_METRICS=True, PUSH_BROKER_URL=url)
    registry = CollectorRegistry()
    Counter("orders", "Orders.", registry=registry).inc()
    registry.register(Collector(push))
    lines = generate_latest(registry).decode().splitlines()
    assert "orders_total 1.0" in lines
    ours = [line for line in lines if line.startswith("flask_push")]
    assert ours == ["flask_push_up 0.0"]
    (record,) = caplog.records
    assert "shows flask_push_up 0: Redis can't be read" in record.getMessage()
    with app.app_context():
        push._services().close()


@pytest.mark.parametrize("given", [None, "app", Push])
def test_a_collector_refuses_anything_but_a_push(given: t.Any) -> None:
    with pytest.raises(TypeError, match="takes a Push"):
        Collector(given)


MULTIPLE = """
import sys
from flask import Flask
from flask_push import Push
from flask_push.metrics import Collector
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

orders = Counter("orders", "Orders.")
orders.inc()
app = Flask("app", instance_path=sys.argv[1])
app.config["PUSH_METRICS"] = True
push = Push(app)
registry = CollectorRegistry()
MultiProcessCollector(registry)
registry.register(Collector(push))
print(generate_latest(registry).decode())
"""


def test_the_mode_for_several_processes_shows_each_number_once(tmp_path: Path) -> None:
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for number in 1, 2:
        done = subprocess.run(
            [sys.executable, "-c", MULTIPLE, str(tmp_path)],
            env=env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert f"orders_total {number}.0" in done.stdout
        assert done.stdout.count("\nflask_push_up 1.0\n") == 1


def test_without_prometheus_client_the_extra_is_named(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["prometheus_client"] = sys.modules["prometheus_client.core"] = None
import flask_push.metrics
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'flask-push[metrics]'" in done.stderr
