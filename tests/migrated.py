"""An SQLite file with this release's tables, made once a session by the migrations and copied from then on.

That the migrations make these tables, and how long that takes, is shown by tests/contract/test_store.py and test_store_upgrade.py.
"""

from __future__ import annotations

import asyncio
import atexit
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from msgcenter.clock import SystemClock
from msgcenter.store.store import Store


def migrate(url: str) -> None:
    """Bring the database at `url` to this release's tables; also from inside a running loop."""

    async def work() -> None:
        store = Store(url, SystemClock())
        await store.open()
        try:
            await store.migrate()
        finally:
            await store.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work()).result(60)


def place(path: Path) -> None:
    """Have a migrated file at `path`, whose folder is made; one that is there stays."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_file(), path)


def placed(folder: Path) -> str:
    """`sqlite:///` URL of a migrated file in `folder`."""
    place(folder / "store.db")
    return f"sqlite:///{folder}/store.db"


@lru_cache(maxsize=1)
def _file() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="msgcenter-test-store-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    migrate(f"sqlite:///{folder / 'store.db'}")
    assert [path.name for path in folder.iterdir()] == ["store.db"], "all of it is in the one file"
    return folder / "store.db"
