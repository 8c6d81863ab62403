"""`main()`: be the program of a Keep that is an enclave of Gramine's. Started by it, as the manifest says.

The manifest is measured, and with it all that this program is: its files by their digests, its arguments, which name
the only package that it runs, and the compiled code of that package's module, if there is any.

The sallyport is carried over standard input and output. Gramine has neither memory files nor, unless one asks it to
trust its host with them, eventfds; so both halves of the inner end are in this process, and nothing is shared.
"""

from __future__ import annotations

import _thread
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from enarx_keep.package import Files
    from enarx_sallyport import Carrier

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_LAST_WORDS = 30.0  # seconds that the host has to take what the Keep published last


class MeasuredCode:
    """Native code of the package's module, which the manifest names by its digest: Gramine opens no other file."""

    def __init__(self, place: Path) -> None:
        self._content = place.read_bytes()

    def found(self, files: Files, package: str, signatures: Sequence[Any]) -> bytes:  # noqa: ARG002 - it is of the one
        """See `life.Code`."""
        return self._content


def main() -> NoReturn:
    """The arguments: the package's digest, and the file of its module's code, if there is one."""
    began = time.monotonic()
    package, *code = sys.argv[1:]
    from enarx_keep.attester.hardware import ENCLAVE
    from enarx_keep.life import live
    from enarx_sallyport import Carrier, check_wasmtime

    check_wasmtime()
    carrier = Carrier.within(_STDIN, _STDOUT)
    os.dup2(_STDERR, _STDOUT)  # whatever else is written must not come between frames
    _thread.start_new_thread(_end_with, (carrier,))
    place = ENCLAVE._replace(package=package)
    live(carrier.guest(), None, began, place, MeasuredCode(Path(*code)) if code else None)
    carrier.finish(_LAST_WORDS)
    os._exit(0)


def _end_with(carrier: Carrier) -> None:
    """Without a host there is nobody to serve; one that breaks the protocol is not served any more."""
    fault = carrier.wait()
    if fault:
        os.write(_STDERR, f"keep: {fault}\n".encode())
    os._exit(1 if fault else 0)
