"""The manifest of an enclave: nothing that is not named by its digest, nothing of the host."""

from __future__ import annotations

import hashlib
import tomllib

import pytest

from enarx_backends.gramine import Enclave, manifest, size, text
from enarx_deploy.errors import KeepError

FILES = {"usr/bin/python3": b"python3", "keep.py": b"keep"}
ENCLAVE = Enclave(["/usr/bin/python3", "/keep.py", "sha256:ab"], FILES, b"libos", memory=64 << 20)


def table(enclave: Enclave = ENCLAVE) -> dict:
    return manifest(enclave, product=1, svn=2)


def test_every_file_is_named_by_its_digest_and_by_its_place_beside_the_manifest():
    trusted = {entry["uri"]: entry["sha256"] for entry in table()["sgx"]["trusted_files"]}
    content = {"libsysdb.so": b"libos"} | {f"root/{path}": content for path, content in FILES.items()}
    assert trusted == {f"file:{path}": hashlib.sha256(found).hexdigest() for path, found in content.items()}
    assert table()["fs"] == {"root": {"type": "chroot", "uri": "file:root"}, "mounts": []}
    assert table()["loader"]["entrypoint"] == {
        "uri": "file:libsysdb.so",
        "sha256": hashlib.sha256(b"libos").hexdigest(),
    }


def test_the_enclave_cannot_be_looked_into_and_takes_nothing_of_the_host():
    made = table()
    assert made["sgx"]["debug"] is False
    assert made["sgx"]["file_check_policy"] == "strict"
    assert made["sgx"]["remote_attestation"] == "dcap"
    assert made["sys"]["disallow_subprocesses"] is True
    said = text(made).decode()
    for word in ("insecure", "passthrough", "allowed_files", "src_file", "debug = true"):
        assert word not in said
    assert made["loader"]["argv"] == list(ENCLAVE.argv)
    assert made["libos"]["entrypoint"] == ENCLAVE.argv[0]
    assert list(made["loader"]["env"]) == ["LC_ALL"]


def test_what_it_says_of_itself_is_in_it():
    assert (table()["sgx"]["isvprodid"], table()["sgx"]["isvsvn"]) == (1, 2)


@pytest.mark.parametrize(
    ("memory", "wanted"), [(0, 512), (1, 1024), (256 << 20, 1024), (3 << 29, 4096), (4 << 30, 16384)]
)
def test_its_size_is_a_power_of_two_that_holds_runtime_and_a_workload_that_is_copied_as_it_grows(memory, wanted):
    assert size(memory) == wanted << 20
    assert table(ENCLAVE._replace(memory=memory))["sgx"]["enclave_size"] == f"{wanted}M"


def test_a_workload_that_no_enclave_holds_is_refused_with_what_to_do():
    with pytest.raises(KeepError, match="cannot be") as caught:
        size(32 << 30)
    assert "[resources]" in caught.value.hint


def test_the_same_files_give_the_same_bytes_in_any_order():
    other = ENCLAVE._replace(files=dict(reversed(FILES.items())))
    assert text(table()) == text(table(other))
    assert tomllib.loads(text(table()).decode()) == table()


@pytest.mark.parametrize(
    "changed",
    [
        ENCLAVE._replace(files={**FILES, "keep.py": b"keeq"}),
        ENCLAVE._replace(files={**FILES, "more": b""}),
        ENCLAVE._replace(libos=b"libot"),
        ENCLAVE._replace(argv=[*ENCLAVE.argv[:-1], "sha256:ac"]),
    ],
    ids=["file", "another-file", "library-os", "arguments"],
)
def test_whatever_changes_is_seen_in_the_manifest(changed):
    assert text(table(changed)) != text(table())


def test_gramines_own_schema_takes_it():
    """Its keys and types by `manifest_check.py` of Gramine, which `gramine-manifest-check` holds manifests to."""
    made = table()
    kinds = {
        "loader": {"entrypoint": dict, "argv": list, "log_level": str, "env": dict},
        "libos": {"entrypoint": str},
        "sys": {"disallow_subprocesses": bool, "enable_sigterm_injection": bool, "stack": dict},
        "fs": {"root": dict, "mounts": list},
        "sgx": {
            **dict.fromkeys(("debug", "edmm_enable", "use_exinfo"), bool),
            **dict.fromkeys(("remote_attestation", "enclave_size", "file_check_policy"), str),
            **dict.fromkeys(("max_threads", "isvprodid", "isvsvn"), int),
            "cpu_features": dict,
            "trusted_files": list,
        },
    }
    assert {name: {key: type(value) for key, value in part.items()} for name, part in made.items()} == kinds
    assert set(made["loader"]["entrypoint"]) == {"uri", "sha256"}
    assert all(set(file) == {"uri", "sha256"} for file in made["sgx"]["trusted_files"])
    features = made["sgx"]["cpu_features"]
    assert all(features[name] in ("unspecified", "disabled", "required") for name in ("avx", "avx512", "amx"))
    assert all(features[name] in ("disabled", "required") for name in ("mpx", "pkru"))
