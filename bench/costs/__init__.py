"""What parts of Flask-Push cost, compared with the smallest program that does the same.

They are measured only if they are named.
"""

from __future__ import annotations

import collections.abc as cabc

from compare import Row
from compare import Scale

from costs import after_commit
from costs import disconnects
from costs import gzip_blocks
from costs import hand_over
from costs import item_newcomers
from costs import item_streams
from costs import metrics_scrape
from costs import outbox_relay
from costs import paced_items
from costs import presence_joins
from costs import redis_feed
from costs import redis_scripts
from costs import run_words
from costs import run_writes
from costs import scale
from costs import set_items

COSTS: dict[str, cabc.Callable[[Scale], list[Row]]] = {
    "after_commit": after_commit.after_commit,
    "disconnect": disconnects.disconnect,
    "gzip_bytes": gzip_blocks.gzip_bytes,
    "gzip_time": gzip_blocks.gzip_time,
    "gzip_connect": gzip_blocks.gzip_connect,
    "hand_over": hand_over.hand_over,
    "item_newcomers": item_newcomers.item_newcomers,
    "item_slow_reader": item_streams.item_slow_reader,
    "item_fan_out": item_streams.item_fan_out,
    "metrics_scrape": metrics_scrape.metrics_scrape,
    "outbox_delay": outbox_relay.outbox_delay,
    "outbox_rate": outbox_relay.outbox_rate,
    "paced_items": paced_items.paced_items,
    "presence_joins": presence_joins.presence_joins,
    "presence_newcomers": presence_joins.presence_newcomers,
    "redis_publish": redis_scripts.redis_publish,
    "redis_hubs": redis_feed.redis_hubs,
    "redis_delay": redis_feed.redis_delay,
    "redis_feed": redis_feed.redis_feed,
    "run_words": run_words.run_words,
    "run_writes": run_writes.run_writes,
    "scale": scale.scale,
    "set_cost": set_items.set_cost,
}
