"""The sgx backend: the Keep's program as an enclave of Intel SGX, by Gramine. Not yet run on hardware.

What it is made of is the Keep's image's: the same interpreter, engine, sallyport and program, by the same digests. The
package's digest is an argument of the program, and so in the manifest, which is measured: CONFIGID, which would be the
place for it, takes a kind of enclave (KSS) that Gramine does not make. So each package has a MRENCLAVE of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from enarx_backends import compiling, enclave, gramine, gramine_installed, keep_image, looks
from enarx_deploy import paths
from enarx_deploy.errors import KeepError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.machine import Machine
from enarx_deploy.models import Package, Probe, ReferenceValues
from enarx_deploy.protocols import Backend, KeepProcess, Launch

if TYPE_CHECKING:
    from enarx_image.image import Image
    from enarx_measurement.keys import SgxKey

KEY = "enclave.key"
"""The owner's key, among the state: what `enarx-deploy key sgx create` makes."""
_STRENGTH = 20
_INTERPRETER = "/usr/bin/python3.13"
_PROGRAM = "enclave.py"
_PROGRAM_TEXT = b"""import sys
sys.path.append("/usr/lib/keep")
from enarx_keep.enclave import main
main()
"""
_CODE = "module.cwasm"
_PARTS = ("lib64/", "usr/bin/", "usr/lib/")
_NO_PARTS = ("usr/lib/modules/",)
"""Of the image's files: all but those of the kernel and of its first process."""


class Workload(NamedTuple):
    """What an enclave depends on of its package: the digest, the module, and how much `[resources]` allow it."""

    package: str
    module: compiling.Wanted
    memory: int


class Sgx:
    """An enclave over its standard input and output."""

    name = "sgx"
    aliases: tuple[str, ...] = ()
    hardware = True
    evidence = "sgx"
    strength = _STRENGTH

    def __init__(self, machine: Machine | None = None, folder: Path | None = None) -> None:
        """`folder` is where the image is; None for that of this version."""
        self.machine = machine or Machine()
        self._folder = folder

    def booting(self, folder: Path) -> Sgx:
        """See `BootsImage`. An enclave boots nothing of it, and is made of its files."""
        return Sgx(self.machine, folder)

    def image_digest(self) -> str:
        """See `BootsImage`."""
        return keep_image.find(self._folder).digest

    def probe(self) -> Probe:
        """What the processor, its kernel and its services need, then Gramine, the image and the owner's key."""
        own = {
            "Gramine": lambda: f"version {gramine_installed.find().version or 'not told'}",
            "image": self.image_digest,
            "signing key": lambda: f"MRSIGNER {_mrsigner(_key())}",
        }
        return looks.probe(self.name, self.machine, own)

    def measure(self, package: Package) -> ReferenceValues:
        """MRENCLAVE of the enclave that runs this package. It takes Gramine's files, and no such processor."""
        from enarx_backends import measured

        made = Made(of_package(package), keep_image.find(self._folder))
        return measured.sgx(package, made.image, made.measured, _mrsigner(_key()))

    def start(self, launch: Launch) -> KeepProcess:
        """Start an enclave. Raises KeepError."""
        for check in self.probe().checks:
            if not check.ok:
                raise KeepError(f"{self.name}: {check.name}: {check.detail}", hint=check.hint)
        made = Made(_of_launch(launch), keep_image.find(self._folder))
        place = paths.cache_dir("enclaves")
        enclave.remove_abandoned(place)
        folder = enclave.Folder(place, made.files(_key()))
        return enclave.EnclaveProcess(enclave.Started(made.program, folder, made.image), launch)


class Made:
    """An enclave for a workload: its files, its manifest, and what it measures to."""

    def __init__(self, workload: Workload, image: Image) -> None:
        """Raises KeepError."""
        from enarx_measurement import MeasurementFault
        from enarx_measurement.gramine_enclave import PRODUCT_ID, SVN, Enclave, measure

        found = gramine_installed.find()
        self.program, self.image = found.program, image.digest
        engine = f"usr/lib/keep/wasmtime-{image.record.distributions['wasmtime']}.dist-info/METADATA"
        content = {
            **keep_image.files(image, _PARTS, _NO_PARTS),
            engine: b"",
            _PROGRAM: _PROGRAM_TEXT,  # the Keep asks for the folder of the former
            **_code(workload.module),
        }
        argv = [_INTERPRETER, "-I", "-S", "-B", f"/{_PROGRAM}", workload.package]
        if _CODE in content:
            argv.append(f"/{_CODE}")
        of_gramine = gramine.Enclave(argv, content, found.libos, workload.memory)
        self._content, self._libos = content, found.libos
        self._manifest = gramine.text(gramine.manifest(of_gramine, PRODUCT_ID, SVN))
        size = gramine.size(workload.memory)
        try:
            self.measured = measure(Enclave(self._manifest, found.pal, size, gramine.THREADS))
        except MeasurementFault as fault:
            raise KeepError(str(fault), hint=fault.hint) from fault

    def files(self, key: SgxKey) -> dict[str, bytes]:
        """All that is in the enclave's folder, signed by its owner."""
        from enarx_measurement.gramine_enclave import body
        from enarx_measurement.sgx_sigstruct import sign

        own = {gramine.LIBOS: self._libos, enclave.MANIFEST: self._manifest}
        below = {f"{gramine.ROOT}/{path}": content for path, content in self._content.items()}
        return {**own, enclave.SIGNATURE: sign(body(self.measured), key), **below}


def of_package(package: Package) -> Workload:
    """What an enclave that runs this package depends on. Raises KeepError."""
    from enarx_deploy.manifest import parse
    from enarx_deploy.manifest.room import memory_bytes

    if not package.root:
        raise KeepError(f"the package {package.digest} is not here", hint=_UNSEEN)
    own = parse(Path(package.root, "Enarx.toml").read_bytes(), "Enarx.toml").manifest
    if own.resources.cpu_time is not None:
        raise KeepError(
            "[resources] cpu_time: Gramine has no timer of processor time",
            hint="limit `time` instead, or take another backend",
        )
    return Workload(package.digest, compiling.of_package(package), memory_bytes(own))


def _of_launch(launch: Launch) -> Workload:
    if not launch.module_path:
        raise KeepError("an enclave cannot have a package whose manifest its host has not seen", hint=_UNSEEN)
    return Workload(launch.package_digest, compiling.of_launch(launch), launch.memory_bytes)


_UNSEEN = "its size and its package are measured: --fetch-here has this machine fetch the package"


def _code(module: compiling.Wanted) -> dict[str, bytes]:
    """The module's compiled code, which is measured as any other file is; none where it cannot be made."""
    code = compiling.code_of(module, compiling.ENCLAVE)
    return {_CODE: code} if code else {}


def _key() -> SgxKey:
    from enarx_measurement import MeasurementFault, load_sgx

    place = paths.state_dir() / KEY
    try:
        return load_sgx(place)
    except MeasurementFault as fault:
        hint = f"`enarx-deploy key sgx create --out {place}` makes one"
        raise KeepError(f"the key that signs enclaves: {fault}", hint=hint) from fault


def _mrsigner(key: Any) -> str:
    from enarx_measurement import sgx_digest

    return sgx_digest(key)


@hookimpl
def register_backends() -> Iterable[Backend]:
    """The sgx backend."""
    return [Sgx()]
