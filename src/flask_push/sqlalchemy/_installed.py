"""Importing this fails if SQLAlchemy is missing, or too old."""

try:
    from sqlalchemy import __version__ as _version
except ImportError as error:
    if (error.name or "").partition(".")[0] != "sqlalchemy":
        raise
    _version = "0"

if int(_version.partition(".")[0]) < 2:
    raise RuntimeError(
        'This needs SQLAlchemy 2 or newer: pip install -U "Flask-Push[sqlalchemy]"'
    )
