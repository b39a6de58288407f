"""The values that all other modules use: events, positions, and pages of history.

Nothing here does I/O or knows a clock, a thread, a loop or Flask.
"""

from .ids import base62 as base62
from .ids import escape as escape
from .ids import escape_item as escape_item
from .ids import MAX_CHANNEL as MAX_CHANNEL
from .ids import MAX_ITEM as MAX_ITEM
from .ids import unescape as unescape
from .values import channel_of as channel_of
from .values import Entry as Entry
from .values import Event as Event
from .values import event_id as event_id
from .values import GAP as GAP
from .values import item_of as item_of
from .values import ItemRow as ItemRow
from .values import ItemsPage as ItemsPage
from .values import MAX_KEY as MAX_KEY
from .values import MAX_NUMBER as MAX_NUMBER
from .values import MAX_TYPE as MAX_TYPE
from .values import Name as Name
from .values import OwnChannel as OwnChannel
from .values import Page as Page
from .values import Position as Position
from .values import Proof as Proof
from .values import UNSET as UNSET
