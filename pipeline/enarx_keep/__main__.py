"""`python -m enarx_keep BLOCK DOORBELL [CACHE]`: be a Keep. Started by a backend, never by hand."""

from __future__ import annotations

import signal
import sys
from pathlib import Path


def main() -> None:
    """The arguments are the descriptors of the block and of the doorbell, and where compiled modules are kept."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the host decides when a Keep ends
    block, doorbell, *cache = sys.argv[1:]
    from enarx_keep.life import live

    live(int(block), int(doorbell), Path(cache[0]) if cache else None)


if __name__ == "__main__":
    main()
