"""`python -m enarx_keep BLOCK DOORBELL HOST [CACHE]`: be a Keep. Started by a backend, never by hand."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    """The arguments: descriptors of the block and the doorbell, the host's process, where compiled modules are kept."""
    began = time.monotonic()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the host decides when a Keep ends
    block, doorbell, host, *cache = sys.argv[1:]
    from enarx_keep.attester.choice import PROCESS
    from enarx_keep.life import live
    from enarx_sallyport import end_with_parent

    end_with_parent()
    if os.getppid() != int(host):
        return  # the host ended before the kernel was asked to tell

    live(int(block), int(doorbell), Path(cache[0]) if cache else None, began, PROCESS)


if __name__ == "__main__":
    main()
