"""`python -m enarx_keep BLOCK DOORBELL HOST [CACHE MODULE]`: be a Keep. Started by a backend, never by hand."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    """The arguments: descriptors of the block and the doorbell, the host's process, where compiled modules are kept,
    and the digest of the one that will come (hex)."""
    began = time.monotonic()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the host decides when a Keep ends
    block, doorbell, host, *cache = sys.argv[1:]
    from enarx_sallyport import end_with_parent, prepare_jail

    end_with_parent()
    if os.getppid() != int(host):
        return  # the host ended before the kernel was asked to tell
    prepare_jail()
    from enarx_keep import module
    from enarx_keep.attester.choice import PROCESS
    from enarx_keep.life import live

    kept = module.find(Path(cache[0]), cache[1]) if cache else None
    live(int(block), int(doorbell), kept, began, PROCESS)
    os._exit(0)  # nothing is left to tidy, and the interpreter's own way to its end asks for more than a Keep may


if __name__ == "__main__":
    main()
