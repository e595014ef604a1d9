"""The Store: every subject in one class over one database."""

from __future__ import annotations

from msgcenter.store.checkpoints import Checkpoints
from msgcenter.store.dead import Dead
from msgcenter.store.due import Due
from msgcenter.store.events import Events
from msgcenter.store.keys import Keys
from msgcenter.store.media import MediaRows
from msgcenter.store.messages import Messages
from msgcenter.store.park import Parked


class Store(Due, Parked, Messages, Events, Dead, Keys, Checkpoints, MediaRows):
    """`Store("sqlite:////data/store.db", clock)` or `Store("postgresql://user@host/db", clock)`.

    `await open()`, `await migrate()`, use, `await close()`. Safe to use from many tasks of one
    event loop.
    """
