"""The basic app, with or without a safeguard."""

import apps.mutant  # noqa: F401
from apps.basic import app as app
