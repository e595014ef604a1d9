"""The burner: a process that uses a share of a CPU and nothing else; what it does to others is what any work of its size would do.

`python -m bench.burn SHARE`: SHARE of one core (0.25 = a quarter), in slices of `PERIOD_S`, until it is ended.
"""

from __future__ import annotations

import sys
import time

PERIOD_S = 0.005

if __name__ == "__main__":
    share = float(sys.argv[1])
    print("ready", flush=True)
    while True:
        slice_ends = time.thread_time() + PERIOD_S * share
        began = time.monotonic()
        while time.thread_time() < slice_ends:
            pass
        time.sleep(max(0.0, PERIOD_S - (time.monotonic() - began)))
