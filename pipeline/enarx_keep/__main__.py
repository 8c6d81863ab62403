"""`main()`: be a Keep, in a process of its own. Started by a backend, never by hand."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enarx_keep.attester.choice import Place
    from enarx_keep.compiled_code import TrustedCode

_MESSAGE_LIMIT = 1 << 16


def main(built_as: Place | None = None) -> None:
    """The arguments: the descriptor of a socket, and the host's process. It is built as a process if nothing is said.

    By the socket comes one message, when the host knows what this Keep will be: the block and the doorbell as
    descriptors, and in JSON where compiled modules are kept, the digest of the one that will come (hex), and the keys
    (PEM) whose compiled code in a package is run. A host that closes it needs no Keep.
    """
    began = time.monotonic()
    gc.disable()  # imports make no garbage, and it would go through all of them again and again
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the host decides when a Keep ends
    channel, host = map(int, sys.argv[1:])
    from enarx_sallyport import Guest, end_with_parent, prepare_jail

    end_with_parent()
    if os.getppid() != host:
        return  # the host ended before the kernel was asked to tell
    prepare_jail()
    from enarx_keep import module
    from enarx_keep.attester.choice import PROCESS
    from enarx_keep.life import live

    gc.freeze()
    gc.enable()
    with socket.socket(fileno=channel) as awaited:
        place, descriptors, _, _ = socket.recv_fds(awaited, _MESSAGE_LIMIT, 2)
    if place:
        block, doorbell = descriptors
        told = json.loads(place)
        # A module that the host must not see is not kept where it looks.
        kept = module.find(Path(told["cache"]), told["module"]) if told["module"] else None
        live(Guest(block, doorbell), kept, began, built_as or PROCESS, _trusted_code(told.get("code_signers", [])))
    os._exit(0)  # nothing is left to tidy, and the interpreter's own way to its end asks for more than a Keep may


def _trusted_code(keys: list[str]) -> TrustedCode | None:
    if not keys:
        return None
    from enarx_keep.compiled_code import trusted

    return trusted(keys)


if __name__ == "__main__":
    main()
