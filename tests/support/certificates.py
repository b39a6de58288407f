"""Certificates for loopback, each signed by its own key."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


def make_certificate(certificate: Path, key: Path) -> None:
    """Write a certificate of localhost and 127.0.0.1, and its key, into two files."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-out", str(certificate), "-keyout", str(key)),
        ],
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a certificate and its key."""
    directory = tmp_path_factory.mktemp("tls")
    make_certificate(directory / "cert", directory / "key")
    return directory
