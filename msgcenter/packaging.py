"""`python -m msgcenter.packaging`: is this installation whole? The three packages from one place, every adapter, sink and simulator
importable, and, as an image must be, without build tools. Exits 0, or 1 with what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from importlib.util import find_spec

from msgcenter.serve import check_layout

BUILD_TOOLS = ("pip", "setuptools", "wheel", "hatchling", "editables")
GROUPS = ("msgcenter.adapters", "msgcenter.sinks", "msgcenter.simulators")


def problems(tools: Sequence[str] = BUILD_TOOLS) -> list[str]:
    """What is wrong, each with its remedy; `tools`: what must not be there."""
    found: list[str] = []
    try:
        check_layout()
    except RuntimeError as error:
        found.append(str(error))
    for group in GROUPS:
        points = entry_points(group=group)
        if not points:
            found.append(f"no {group} are installed: install the distribution, not only its files")
        for point in points:
            try:
                point.load()
            except (ImportError, AttributeError) as error:
                found.append(f"{group} {point.name}: {error}; install its distribution again")
    found += [f"{tool} is installed: leave it behind" for tool in tools if find_spec(tool)]
    return found


def main() -> int:
    found = problems()
    for problem in found:
        sys.stderr.write(f"{problem}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
