"""Reading the keys from an app's configuration, which may have keys of others."""

from __future__ import annotations

import pytest
from flask import Flask

from flask_push import Push

# For a service of the name that is put in, as the kubelet sets them in each container, and
# Docker does for a link.
SERVICE = {
    "{}_SERVICE_HOST": "10.0.0.11",
    "{}_SERVICE_PORT": "8000",
    "{}_SERVICE_PORT_HTTP_ALT": "8000",
    "{}_PORT": "tcp://10.0.0.11:8000",
    "{}_PORT_8000_TCP": "tcp://10.0.0.11:8000",
    "{}_PORT_8000_TCP_PROTO": "tcp",
    "{}_PORT_8000_TCP_PORT": "8000",
    "{}_PORT_8000_TCP_ADDR": "10.0.0.11",
    "{}_PORT_53_UDP": "udp://[fd00::b]:53",
    "{}_PORT_53_UDP_ADDR": "fd00::b",
}


@pytest.mark.parametrize("name", ["FLASK_PUSH", "FLASK_PUSH_REDIS"])
def test_variables_of_a_kubernetes_service_are_not_taken_for_keys(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in SERVICE.items():
        monkeypatch.setenv(variable.format(name), value)
    monkeypatch.setenv("FLASK_PUSH_KEEP", "7")
    app = Flask(__name__)
    app.testing = True
    app.config.from_prefixed_env()
    push = Push(app)
    with app.app_context():
        assert push._services().config.keep == 7


@pytest.mark.parametrize(
    "key, value",
    [
        ("PUSH_PORT", 8000),
        ("PUSH_PORT", "8000"),
        ("PUSH_SERVICE", "10.0.0.11"),
        ("PUSH_SERVICE_PORT", "http"),
        ("PUSH_RELAY_PORT", 4),
        ("PUSH_PORTS", "tcp://10.0.0.11:8000"),
        ("PUSH_HEARTBEATS", 15),
        # Keys of versions before 0.1.0.
        ("PUSH_MAX_STREAM_EVENTS", 0),
        ("PUSH_MAX_STREAM_BYTES", 10**6),
    ],
)
def test_a_misspelled_key_is_an_error(key: str, value: object) -> None:
    app = Flask(__name__)
    app.config[key] = value
    with pytest.raises(ValueError, match=f"{key} is not a key of Flask-Push"):
        Push(app)
