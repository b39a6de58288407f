"""The page *Monitoring*: its code, its table, its dashboard and its alerts, in a real
Prometheus, too."""

from __future__ import annotations

import collections.abc as cabc
import json
import re
import subprocess
import typing as t
import urllib.parse
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from support.pages import blocks
from support.pages import DOCS
from support.servers import free_port
from support.servers import gunicorn
from support.servers import ROOT
from support.servers import serve
from support.servers import Server
from support.servers import until

from flask_push import Push
from flask_push._delivery.openmetrics import sample_name
from flask_push._delivery.openmetrics import SHOWN

PAGE = DOCS["monitoring"]
VIEW, REGISTERED, SEVERAL, PROBES = blocks(PAGE, "python")
SCRAPE, KUBERNETES, RULE_FILES = map(yaml.safe_load, blocks(PAGE, "yaml"))
FOLDER = ROOT / "docs" / "monitoring"
ALERTS = yaml.safe_load((FOLDER / "alerts.yml").read_text())
DASHBOARD = json.loads((FOLDER / "grafana.json").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
#: What the dashboard asks for.
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# The views.


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> cabc.Iterator[FlaskClient]:
    monkeypatch.setenv("FLASK_TESTING", "true")
    monkeypatch.setenv("FLASK_METRICS_TOKEN", "secret")
    names: dict[str, t.Any] = {"__name__": "hello"}
    exec(VIEW + PROBES, names)
    yield names["app"].test_client()
    names["push"]._services().close()


@pytest.mark.parametrize("token", ["", "Bearer", "secret", "Bearer x", "Bearer sécret"])
def test_the_view_refuses_another_token(client: FlaskClient, token: str) -> None:
    assert client.get("/metrics", headers={"Authorization": token}).status_code == 401


def test_the_view_shows_the_metrics_to_prometheus(client: FlaskClient) -> None:
    headers = {"Authorization": "Bearer secret"}
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200 and "\nflask_push_streams 0\n" in answer.text


def test_the_views_of_probes_have_the_paths_that_kubernetes_asks(
    client: FlaskClient,
) -> None:
    for name, found in ("liveness", {"hub"}), ("readiness", {"hub", "store"}):
        probe = KUBERNETES[f"{name}Probe"]
        assert probe["timeoutSeconds"] >= 5
        answer = client.get(probe["httpGet"]["path"])
        assert answer.status_code == 200 and {*answer.get_json()} == found


def test_the_code_for_a_registry_of_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    app = Flask("app")
    app.testing, app.config["PUSH_METRICS"] = True, True
    push = Push(app)
    names: dict[str, t.Any] = {
        **{"push": push, "app": app, "Response": app.response_class},
        **{"CollectorRegistry": CollectorRegistry, "generate_latest": generate_latest},
        **{"MultiProcessCollector": MultiProcessCollector},
        **{"CONTENT_TYPE_LATEST": CONTENT_TYPE_LATEST},
    }
    exec(REGISTERED + SEVERAL, names)
    names["REGISTRY"].unregister(
        next(
            each
            for each in list(names["REGISTRY"]._collector_to_names)
            if isinstance(each, names["Collector"])
        )
    )
    answer = app.test_client().get("/metrics")
    assert answer.text.count("\nflask_push_up 1.0\n") == 1
    push._services().close()


# The table, the dashboard and the alerts.


def test_the_table_has_all_metrics() -> None:
    _, _, section = PAGE.partition("## All metrics")
    found = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", section, re.MULTILINE)
    expected = []
    for family in SHOWN:
        values = ", ".join(f"`{value}`" for value in family.values)
        label = f"`{family.label}`: {values}" if values else ""
        expected.append((sample_name(family), family.kind, label, family.help))
    assert found == expected


def series() -> set[str]:
    found = set()
    for family in SHOWN:
        name = sample_name(family)
        parts = ("_bucket", "_count", "_sum") if family.kind == "histogram" else ("",)
        found |= {name + part for part in parts}
    return found


def labels() -> dict[str, set[str]]:
    """Of each series, the labels that Prometheus has for it."""
    found = {}
    for family in SHOWN:
        own = {"le"} if family.kind == "histogram" else {family.label} - {""}
        name = sample_name(family) + ("_bucket" if family.kind == "histogram" else "")
        found[name] = own | {"job"}
    return found


def test_queries_use_only_what_there_is() -> None:
    for query in [*QUERIES, *(rule["expr"] for rule in RULES)]:
        names = set(re.findall(r"flask_push_\w+", query))
        assert names and names <= series(), query
        known = set().union(*(labels()[name] for name in names))
        grouped = {
            label.strip()
            for by in re.findall(r"by \((.*?)\)", query)
            for label in by.split(",")
        }
        matched = set(re.findall(r"(\w+)=~?\"", query))
        assert grouped | matched <= known, query


def test_values_of_labels_in_the_alerts_exist() -> None:
    found = {value for family in SHOWN for value in family.values}
    for rule in RULES:
        for values in re.findall(r"=~?\"(.*?)\"", rule["expr"]):
            assert {*values.split("|")} <= found


def test_the_dashboard_shows_all_metrics() -> None:
    asked = set(re.findall(r"flask_push_\w+", " ".join(QUERIES)))
    shown = {name.removesuffix("_bucket") for name in asked}
    assert shown == {sample_name(family) for family in SHOWN}


def test_the_dashboard_is_complete() -> None:
    assert [each["name"] for each in DASHBOARD["templating"]["list"]] == ["source", "job"]
    places = set()
    for panel in DASHBOARD["panels"]:
        assert panel["title"] and panel["description"].endswith(".")
        place = panel["gridPos"]
        places.add((place["x"], place["y"]))
        assert (place["w"], place["h"]) == (12, 8)
        sources = [panel["datasource"], *(each["datasource"] for each in panel["targets"])]
        assert {source["uid"] for source in sources} == {"${source}"}
    ids = {panel["id"] for panel in DASHBOARD["panels"]}
    assert len(ids) == len(places) == len(DASHBOARD["panels"])


def filled(query: str, job: str = "flask-push") -> str:
    return query.replace("$__rate_interval", "1m").replace("$job", job)


def test_promtool_can_read_all_queries(tmp_path: Path) -> None:
    assert "SUCCESS" in run("promtool", "check", "rules", FOLDER / "alerts.yml")
    records = [
        {"record": f"query_{number}", "expr": filled(query)}
        for number, query in enumerate(QUERIES)
    ]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": records}]}))
    run("promtool", "check", "rules", path)


def test_the_page_lists_all_alerts_in_their_order() -> None:
    rows = re.findall(r"^\| `(FlaskPush\w+)` \|", PAGE, re.MULTILINE)
    assert rows == [rule["alert"] for rule in RULES]
    for rule in RULES:
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]
        assert rule["labels"]["severity"] in ("warning", "critical")


#: Of each alert: series with which it fires, and some with which it almost does. Each
#: minute has a value.
FIRING: dict[str, list[tuple[dict[str, str], bool]]] = {
    "FlaskPushNotMeasured": [
        ({"up": "0x200"}, True),
        ({"up": "_x200"}, True),
        ({"up": "1x175 0x4 1x40"}, False),
    ],
    "FlaskPushNotPublished": [
        ({'publish_failures_total{reason="uncertain"}': "0+1x200"}, True),
        # A single one, some minutes before.
        ({'publish_failures_total{reason="uncertain"}': "0x170 1x40"}, False),
    ],
    "FlaskPushHubFailed": [
        ({"hub_failures_total": "3x175 4x40"}, True),
        ({"hub_failures_total": "4x200"}, False),
    ],
    "FlaskPushStoreLostEvents": [
        ({'gaps_total{reason="restarted"}': "0x175 9x40"}, True),
        ({'gaps_total{reason="trimmed"}': "0x175 9x40"}, False),
    ],
    "FlaskPushRetentionTooShort": [
        (
            {
                'gaps_total{reason="trimmed"}': "0+6x200",
                'streams_opened_total{kind="resumed"}': "0+100x200",
                "streams": "9000x200",
            },
            True,
        ),
        (
            {
                'gaps_total{reason="trimmed"}': "0+4x200",
                'streams_opened_total{kind="resumed"}': "0+100x200",
                "streams": "9000x200",
            },
            False,
        ),
    ],
    "FlaskPushStreamsRefused": [
        ({'streams_refused_total{limit="user"}': "0+1x200"}, True),
        ({'streams_refused_total{limit="user"}': "9x200"}, False),
    ],
    "FlaskPushReconnects": [
        (
            {
                'streams_opened_total{kind="new"}': "0+60x200",
                'streams_opened_total{kind="resumed"}': "0+60x200",
                "streams": "100x200",
            },
            True,
        ),
        (
            {'streams_opened_total{kind="resumed"}': "0+80x200", "streams": "100x200"},
            False,
        ),
        # A few pages that are reloaded.
        ({'streams_opened_total{kind="new"}': "0+90x200", "streams": "40x200"}, False),
    ],
    "FlaskPushStreamsBehind": [
        ({"streams": "100x200", "streams_behind": "21x200"}, True),
        ({"streams": "100x200", "streams_behind": "19x200"}, False),
        ({"streams": "3x200", "streams_behind": "3x200"}, False),
    ],
    "FlaskPushSlow": [
        (
            {
                'publish_to_write_seconds_bucket{le="1.0"}': "0+97x200",
                'publish_to_write_seconds_bucket{le="2.5"}': "0+100x200",
                'publish_to_write_seconds_bucket{le="+Inf"}': "0+100x200",
            },
            True,
        ),
        (
            {
                'publish_to_write_seconds_bucket{le="1.0"}': "0+100x200",
                'publish_to_write_seconds_bucket{le="+Inf"}': "0+100x200",
            },
            False,
        ),
        ({'publish_to_write_seconds_bucket{le="+Inf"}': "5x200"}, False),
    ],
    "FlaskPushHubBusy": [
        ({"hub_cpu_seconds_total": "0+55x200", "hubs": "1x200"}, True),
        ({"hub_cpu_seconds_total": "0+55x200", "hubs": "2x200"}, False),
    ],
    "FlaskPushRunsLost": [
        ({'runs_ended_total{status="lost"}': "3x175 4x40"}, True),
        ({'runs_ended_total{status="failed"}': "3x175 4x40"}, False),
    ],
}


def of_two_instances(given: dict[str, str]) -> list[dict[str, str]]:
    """Each of them shows the sums of all."""
    found = []
    for name, values in {"up": "1x200", **given}.items():
        plain, _, rest = name.partition("{")
        for instance in "ab":
            own = f'job="x",instance="{instance}"' + (f",{rest}" if rest else "}")
            found.append({"series": f"flask_push_{plain}{{{own}", "values": values})
    return found


def test_promtool_finds_that_each_alert_fires_when_it_has_to(tmp_path: Path) -> None:
    assert list(FIRING) == [rule["alert"] for rule in RULES]
    tests = []
    for alert, cases in FIRING.items():
        assert {fires for _, fires in cases} == {True, False}
        for given, fires in cases:
            samples = [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if fires else []
            expected = {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": "180m",
                "exp_samples": samples,
            }
            tests.append(
                {
                    "interval": "1m",
                    "input_series": of_two_instances(given),
                    "promql_expr_test": [expected],
                }
            )
    path = tmp_path / "tests.yml"
    path.write_text(
        yaml.safe_dump({"rule_files": [str(FOLDER / "alerts.yml")], "tests": tests})
    )
    run("promtool", "test", "rules", path)


# A real Prometheus.


class Prometheus(Server):
    """With the configuration of the page, but for the port and the pause."""

    def __init__(self, directory: Path, target: int) -> None:
        config: t.Any = json.loads(json.dumps({**SCRAPE, **RULE_FILES}))
        (job,) = config["scrape_configs"]
        assert job["static_configs"] == [{"targets": ["127.0.0.1:8000"]}]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{target}"]}]
        job["scrape_interval"] = "1s"
        path = directory / "prometheus.yml"
        path.write_text(yaml.safe_dump(config))
        (directory / "metrics-token").write_text("secret")
        (directory / "alerts.yml").write_text((FOLDER / "alerts.yml").read_text())
        run("promtool", "check", "config", path)
        port = free_port()
        command = [
            *("prometheus", f"--config.file={path}", f"--storage.tsdb.path={directory}/db"),
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        super().__init__(command, port, directory / "prometheus.log", {}, directory)

    def answers(self) -> bool:
        return super().answers() and self.request("GET", "/-/ready")[0] == 200

    def query(self, query: str) -> list[tuple[dict[str, str], float]]:
        found = self.get(f"/api/v1/query?{urllib.parse.urlencode({'query': query})}")
        results = json.loads(found)["data"]["result"]
        return [(each["metric"], float(each["value"][1])) for each in results]

    def value(self, query: str) -> float | None:
        found = self.query(query)
        return found[0][1] if found else None


STREAM = """

@app.get("/stream")
def stream():
    return push.stream(*push.requested())
"""


def test_prometheus_reads_a_real_server(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text(VIEW + STREAM)
    env = {"FLASK_METRICS_TOKEN": "secret"}
    with serve(gunicorn, tmp_path, "-w", "2", app="hello", cwd=tmp_path, env=env) as server:
        prometheus = Prometheus(tmp_path, server.port)
        try:
            until(lambda: prometheus.value("up") == 1, what=prometheus.log)
            assert prometheus.value("flask_push_up") == 1
            counted = prometheus.query('{__name__=~"flask_push_.*_total"}')
            assert counted and all(value == 0 for _, value in counted)
            for _ in range(2):
                server.open_stream("a")
            until(lambda: prometheus.value("flask_push_streams") == 2)
            opened = prometheus.value('flask_push_streams_opened_total{kind="new"}')
            assert opened == 2
            for query in QUERIES:
                assert prometheus.query(filled(query)), query
            about = json.loads(prometheus.get("/api/v1/targets/metadata"))["data"]
            kinds = {row["metric"]: row["type"] for row in about}
            for family in SHOWN:
                assert kinds[f"flask_push_{family.name}"] == family.kind
        finally:
            prometheus.kill()
