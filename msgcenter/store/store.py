"""The Store: every subject in one class over one database."""

from __future__ import annotations

from msgcenter.store.accounts import AccountStates
from msgcenter.store.callers import Callers
from msgcenter.store.checkpoints import Checkpoints
from msgcenter.store.configs import Configs
from msgcenter.store.coverage import Reconciling
from msgcenter.store.customers import Customers
from msgcenter.store.dead import Dead
from msgcenter.store.due import Due
from msgcenter.store.events import Events
from msgcenter.store.groups import Groups
from msgcenter.store.inbox import Inboxes
from msgcenter.store.keys import Keys
from msgcenter.store.media import MediaRows
from msgcenter.store.messages import Messages
from msgcenter.store.park import Parked
from msgcenter.store.past import Past
from msgcenter.store.pauses import Pauses
from msgcenter.store.retention import Retention
from msgcenter.store.reviews import Reviewing
from msgcenter.store.seals import Seals
from msgcenter.store.short_links import ShortLinks
from msgcenter.store.sightings import Sightings
from msgcenter.store.subscriptions import Subscribing


class Store(
    Due,
    Parked,
    Pauses,
    Messages,
    Events,
    Dead,
    Keys,
    Checkpoints,
    Configs,
    MediaRows,
    AccountStates,
    Groups,
    Seals,
    Sightings,
    Reconciling,
    Customers,
    Inboxes,
    Callers,
    Reviewing,
    ShortLinks,
    Subscribing,
    Past,
    Retention,
):
    """`Store("sqlite:////data/store.db", clock)` or `Store("postgresql://user@host/db", clock)`.

    `await open()`, `await migrate()`, use, `await close()`. Safe to use from many tasks of one
    event loop.
    """
