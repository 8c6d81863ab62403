"""A machine that takes the sgx backend: devices and services as files, and a stand-in for Gramine."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.keep_image import debs, image
from tests.sgx import gramine_stand_in
from tests.sgx.elf import PAL

from enarx_backends.sgx import KEY, Sgx
from enarx_deploy.machine import Machine
from enarx_image import build, pins
from enarx_measurement import create_sgx
from enarx_measurement.keys import load_sgx, sgx_digest
from enarx_measurement.sgx_sigstruct import read

__all__ = ["debs", "image"]

CPUINFO = "vendor_id\t: GenuineIntel\nmodel name\t: Xeon\nflags\t\t: sgx sgx_lc\n\n"
FILES = (
    *("dev/sgx_enclave", "dev/sgx_provision", "var/run/aesmd/aesm.socket"),
    "usr/lib/x86_64-linux-gnu/libdcap_quoteprov.so.1",
)
LIBOS = b"a library OS"


def _vendors():
    """The vendors in miniature of the library's own tests."""
    path = Path(__file__).parents[1] / "attestation/conftest.py"
    spec = importlib.util.spec_from_file_location("vendors_in_miniature", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.NOW = datetime.now(UTC)  # a Keep takes no certificate that is not valid when it comes
    return module


@pytest.fixture(scope="session")
def intel():
    """Intel in miniature."""
    return _vendors().Intel()


@pytest.fixture(scope="session")
def key() -> bytes:
    """The key of an enclave's owner, in PEM; it takes seconds to make."""
    return create_sgx()


@pytest.fixture
def attestation(tmp_path) -> Path:
    """What the stand-in has for /dev/attestation."""
    return tmp_path / "attestation"


@pytest.fixture
def backend(tmp_path, monkeypatch, image, key, attestation) -> Sgx:
    """The backend on such a machine, with a key, an image, and the stand-in on the path."""
    monkeypatch.setenv("ENARX_DEPLOY_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path / "cache"))
    shutil.copytree(image.folder, build.place(tmp_path / "cache/image", pins.load()))
    for folder in ("state", "cache", "cache/image"):
        (tmp_path / folder).mkdir(mode=0o700, exist_ok=True)
    place = tmp_path / "state" / KEY
    place.touch(mode=0o600)
    place.write_bytes(key)
    programs = gramine_stand_in.install(tmp_path / "gramine", PAL, LIBOS, attestation)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    host = tmp_path / "host"
    for path, text in {"proc/cpuinfo": CPUINFO, **dict.fromkeys(FILES, "")}.items():
        (host / path).parent.mkdir(parents=True, exist_ok=True)
        (host / path).write_text(text)
    return Sgx(Machine(host))


@pytest.fixture
def quoting(attestation, backend, intel, key, tmp_path) -> Iterator[None]:
    """What signs quotes: of what the stand-in launched, over the report data that the Keep wrote."""
    owner = tmp_path / "owner.key"
    owner.touch(mode=0o600)
    owner.write_bytes(key)
    mrsigner = bytes.fromhex(sgx_digest(load_sgx(owner)))

    def quote(data: bytes) -> bytes:
        body = read((attestation / gramine_stand_in.SIGSTRUCT).read_bytes()).body
        report = bytearray(
            intel.enclave(mrsigner=mrsigner, isv_prod_id=body.product_id, isv_svn=body.svn, report_data=data)
        )
        report[64:96] = body.mrenclave
        return intel.quote("SGX", body=bytes(report))

    ended = threading.Event()

    def serve() -> None:
        answered = b""
        while not ended.is_set():
            with (
                contextlib.suppress(BrokenPipeError),
                (attestation / "quote").open("wb") as asked,
            ):  # waits for a reader
                data = (attestation / "user_report_data").read_bytes()
                if data != answered and not ended.is_set():  # else it is a reader that has not seen the end yet
                    answered = data
                    asked.write(quote(data))

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    ended.set()
    reader = os.open(attestation / "quote", os.O_RDONLY | os.O_NONBLOCK)
    thread.join()
    os.close(reader)
