"""The code of the page about the admin page."""

from __future__ import annotations

from pathlib import Path

from flask import Flask
from support.pages import blocks
from support.pages import DOCS


def test_the_first_program_guards_its_admin_page(tmp_path: Path) -> None:
    app = Flask("shop", instance_path=str(tmp_path))
    app.secret_key, app.testing = "tests", True
    code, guarded = blocks(DOCS["admin"], "python")
    exec(code, {"app": app})
    client = app.test_client()
    assert client.get("/push/admin/").location == "/login"
    for user, status in ("ben", 404), ("ann", 200):
        with client.session_transaction() as session:
            session["user"] = user
        assert client.get("/push/admin/").status_code == status
    assert "@login_required" in guarded
