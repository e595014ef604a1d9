"""`python -m msgcenter.healthcheck [URL]`: exit 0 when this process is ready, for container health checks; standard library alone, so quick.

Without a URL it asks /readyz of the port that the process listens on for probes (`MSGCENTER__HEALTH__PORT`), else of the API's.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping

TIMEOUT_S = 3.0


def url_of(env: Mapping[str, str]) -> str:
    """Where this process says whether it is ready."""
    port = env.get("MSGCENTER__HEALTH__PORT") or env.get("MSGCENTER__API__PORT") or "8080"
    return f"http://127.0.0.1:{port}/readyz"


def check(url: str) -> str:
    """Empty when it answers 200, else what it says instead."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never by a proxy
    try:
        with opener.open(url, timeout=TIMEOUT_S) as answer:
            return "" if answer.status == 200 else f"{answer.status}"
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read(2000).decode(errors='replace')}"
    except OSError as error:
        return f"{url} does not answer: {error}"


def main() -> int:
    url = sys.argv[1] if len(sys.argv) > 1 else url_of(os.environ)
    problem = check(url)
    if problem:
        sys.stderr.write(f"{problem}\n")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
