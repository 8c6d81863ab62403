"""The sallyport's typed Python face: the host half, the guest half, and nothing else.

The compiled module is private to this package. `Host` is used by the host process of a Keep, `Guest` and
`Credentials` inside the Keep, and a `Carrier` on each side where the two share no memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from enarx_sallyport._native import Carrier, Credentials, Guest, Host, end_with_parent, prepare_jail

if TYPE_CHECKING:
    import wasmtime

__all__ = [
    "WASMTIME_MINOR",
    "Carrier",
    "Credentials",
    "Guest",
    "Host",
    "WrongWasmtime",
    "check_wasmtime",
    "end_with_parent",
    "installed_wasmtime",
    "limit_time",
    "link",
    "prepare_jail",
]

WASMTIME_MINOR = "50.0"
"""The minor version of the PyPI package wasmtime whose C API the guest half is written for."""


class WrongWasmtime(RuntimeError):
    """The installed wasmtime is not the one whose C API the guest half uses."""


def installed_wasmtime() -> str:
    """The version of the PyPI package wasmtime; empty where it is not installed as a package.

    By the name of the folder of its metadata (PEP 376), since importing `importlib.metadata` takes longer than all
    else that a Keep does before its workload runs.
    """
    import wasmtime

    beside = Path(wasmtime.__file__).parents[1].glob("wasmtime-*.dist-info")
    return next((folder.stem.partition("-")[2] for folder in beside), "")


def check_wasmtime() -> None:
    """Raise WrongWasmtime if the installed version is another than `WASMTIME_MINOR`."""
    installed = installed_wasmtime()
    if installed.rpartition(".")[0] != WASMTIME_MINOR:
        raise WrongWasmtime(
            f"wasmtime {installed} is installed, but the sallyport is built for {WASMTIME_MINOR}: "
            f"pip install 'wasmtime=={WASMTIME_MINOR}.*'"
        )


def limit_time(guest: Guest, engine: wasmtime.Engine, *, time: float | None, cpu_time: float | None) -> None:
    """Let what runs in `engine` run for so many seconds from now, of time and of processor time.

    The engine must have been made with epoch interruption. Once per process, and before the jail is locked.
    """
    from wasmtime import _ffi

    guest.limit_time(_address(engine), _ffi.dll._name, time=time, cpu_time=cpu_time)


def link(guest: Guest, linker: wasmtime.Linker) -> None:
    """Define all functions of `wasi_snapshot_preview1` and `wasi_unstable` in `linker`, served natively by `guest`.

    From then on `guest` belongs to the linker while a workload runs: do not call its methods meanwhile.
    Call `check_wasmtime` once before.
    """
    from wasmtime import _ffi

    guest.link(_address(linker), _ffi.dll._name)


def _address(of: wasmtime.Linker | wasmtime.Engine) -> int:
    import ctypes

    address = ctypes.cast(of.ptr(), ctypes.c_void_p).value
    if address is None:
        raise ValueError("it is closed")
    return address
