"""A Push whose app is tested, and makes no files."""

from __future__ import annotations

import collections.abc as cabc
import os

import pytest
from flask import Flask

from flask_push import Push


@pytest.fixture
def push() -> cabc.Iterator[Push]:
    app = Flask("app", instance_path=os.path.abspath("/nonexistent"))
    app.testing = True
    push = Push(app)
    yield push
    push._services().close()
