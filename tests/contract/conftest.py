"""Servers that only contract suites need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.state_rig import RedisCluster
from tests.servers import RedisServer


@pytest.fixture(scope="session")
def redis_cluster_url(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A node of the session's two-node Redis Cluster. (`redis_server` proves that Redis is there.)"""
    del redis_server
    cluster = RedisCluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start()
        yield cluster.url
    finally:
        cluster.close()
