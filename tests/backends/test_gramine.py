"""The manifest of an enclave: nothing that is not named by its digest, nothing of the host."""

from __future__ import annotations

import hashlib
import tomllib

import pytest

from enarx_backends.gramine import Enclave, manifest, text


@pytest.fixture
def enclave(tmp_path):
    files = []
    for name in ("python3", "keep.py"):
        (tmp_path / name).write_bytes(name.encode())
        files.append(tmp_path / name)
    (tmp_path / "libsysdb.so").write_bytes(b"libos")
    return Enclave([str(files[0]), "keep.py"], files, memory=64 << 20, threads=2), tmp_path / "libsysdb.so"


def test_every_file_is_named_by_its_digest(enclave):
    made, libos = enclave
    trusted = {entry["uri"]: entry["sha256"] for entry in manifest(made, libos)["sgx"]["trusted_files"]}
    assert trusted == {f"file:{path}": hashlib.sha256(path.read_bytes()).hexdigest() for path in [libos, *made.files]}


def test_the_enclave_cannot_be_looked_into_and_takes_nothing_of_the_host(enclave):
    table = manifest(*enclave)
    assert table["sgx"]["debug"] is False
    assert table["sgx"]["file_check_policy"] == "strict"
    assert table["sgx"]["remote_attestation"] == "dcap"
    assert table["sys"]["disallow_subprocesses"] is True
    said = text(table).decode()
    assert "insecure" not in said
    assert "passthrough" not in said
    assert "allowed_files" not in said
    assert table["loader"]["argv"] == list(enclave[0].argv)


@pytest.mark.parametrize(("memory", "size"), [(0, "512M"), (1, "1024M"), (512 << 20, "1024M"), (4 << 30, "8192M")])
def test_its_size_is_a_power_of_two_that_holds_runtime_and_workload(enclave, memory, size):
    made, libos = enclave
    assert manifest(made._replace(memory=memory), libos)["sgx"]["enclave_size"] == size


def test_its_threads_are_the_workloads_and_the_runtimes(enclave):
    made, libos = enclave
    more = manifest(made._replace(threads=10), libos)["sgx"]["max_threads"]
    assert more - manifest(made, libos)["sgx"]["max_threads"] == 8


def test_the_same_files_give_the_same_bytes_in_any_order(enclave):
    made, libos = enclave
    other = made._replace(files=[*reversed(made.files), made.files[0]])
    assert text(manifest(made, libos)) == text(manifest(other, libos))
    assert tomllib.loads(text(manifest(made, libos)).decode()) == manifest(made, libos)


def test_a_changed_file_changes_the_manifest(enclave):
    made, libos = enclave
    before = text(manifest(made, libos))
    made.files[1].write_bytes(b"changed")
    assert text(manifest(made, libos)) != before
