"""The sallyport's typed Python face: the host half, the guest half, and nothing else.

The compiled module is private to this package. `Host` is used by the host process of a Keep, `Guest` inside the Keep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from enarx_sallyport._native import Guest, Host, end_with_parent

if TYPE_CHECKING:
    import wasmtime

__all__ = ["WASMTIME_MINOR", "Guest", "Host", "WrongWasmtime", "check_wasmtime", "end_with_parent", "link"]

WASMTIME_MINOR = "50.0"
"""The minor version of the PyPI package wasmtime whose C API the guest half is written for."""


class WrongWasmtime(RuntimeError):
    """The installed wasmtime is not the one whose C API the guest half uses."""


def check_wasmtime() -> None:
    """Raise WrongWasmtime if the installed version is another than `WASMTIME_MINOR`."""
    from importlib.metadata import version

    installed = version("wasmtime")
    if installed.rpartition(".")[0] != WASMTIME_MINOR:
        raise WrongWasmtime(
            f"wasmtime {installed} is installed, but the sallyport is built for {WASMTIME_MINOR}: "
            f"pip install 'wasmtime=={WASMTIME_MINOR}.*'"
        )


def link(guest: Guest, linker: wasmtime.Linker) -> None:
    """Define all functions of `wasi_snapshot_preview1` in `linker`, served natively by `guest`.

    From then on `guest` belongs to the linker while a workload runs: do not call its methods meanwhile.
    Call `check_wasmtime` once before.
    """
    import ctypes

    from wasmtime import _ffi

    address = ctypes.cast(linker.ptr(), ctypes.c_void_p).value
    if address is None:
        raise ValueError("the linker is closed")
    guest.link(address, _ffi.dll._name)
