"""The table of an outbox."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

#: Characters that the reason of a refused row has at most.
MAX_REASON = 500


def outbox_table(name: str, metadata: sa.MetaData) -> sa.Table:
    """Add the table to the app's tables. Its only index is that of its primary key.

    :raises ValueError: If there is a table of this name.
    """
    schema = metadata.schema
    if (f"{schema}.{name}" if schema else name) in metadata.tables:
        raise ValueError(
            f"There is a table {name!r} already. Pass another name= to each Outbox of the"
            " same metadata."
        )
    # SQLite numbers rows by itself only if the type is INTEGER. Only with AUTOINCREMENT, it
    # never gives the number of a deleted row to another row.
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    # A TEXT of MySQL's has 64 KB.
    text = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
    return sa.Table(
        name,
        metadata,
        sa.Column("id", number, primary_key=True, autoincrement=True),
        # What is published, as JSON in ASCII.
        sa.Column("data", text, nullable=False),
        # Why it can't be published. The relay skips such rows.
        sa.Column("refused", sa.String(MAX_REASON)),
        sqlite_autoincrement=True,
    )
