"""What is said of a package: the same for the same sources anywhere, and true to lock files and commits."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from enarx_deploy import description
from enarx_deploy.description.lock_files import locked
from enarx_deploy.description.source import find_source
from enarx_deploy.errors import PackageError, UsageError
from enarx_deploy.models import Module, Package, PackageFile
from enarx_deploy.project import load_project

DIGEST = "sha256:" + "ab" * 32
PACKAGE = Package(
    digest=DIGEST,
    root="/nowhere",
    size=8,
    files=[PackageFile(path="main.wasm", sha256="sha256:" + "cd" * 32, size=8, type="application/wasm")],
)
MODULE = Module(
    path="/nowhere/main.wasm",
    sha256="sha256:" + "cd" * 32,
    size=8,
    entry="_start",
    imports=[],
    toolchain="rust",
    version="rustc 1.90.0",
    inputs={"src/main.rs": "sha256:" + "ef" * 32},
)

CARGO_LOCK = f"""
version = 4
[[package]]
name = "shop"
version = "0.1.0"
[[package]]
name = "serde"
version = "1.0.228"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "{"12" * 32}"
"""
GO_MOD = """module shop
go 1.24
require golang.org/x/text v0.30.0
require (
\tgithub.com/pkg/errors v0.9.1 // indirect
)
replace example.org/x v1.0.0 => ../x
"""
GO_SUM = f"""golang.org/x/text v0.30.0 h1:{"A" * 43}=
golang.org/x/text v0.30.0/go.mod h1:{"B" * 43}=
"""
PACKAGE_LOCK = {
    "lockfileVersion": 3,
    "packages": {
        "": {"name": "shop", "version": "1.0.0"},
        "node_modules/@types/node": {"version": "24.0.0", "integrity": "sha512-" + "QUJD" * 21 + "QQ=="},
        "node_modules/a/node_modules/b": {"version": "2.0.0"},
        "node_modules/own": {"link": True, "resolved": "own"},
    },
}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A project's directory, and nothing of the environment that counts."""
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "Enarx.toml").write_text("")
    return tmp_path / "shop"


def commit(place: Path, *words: str) -> str:
    date = "2026-02-03T04:05:06Z"
    names = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    environment = os.environ | names | {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"], *([list(words)] if words else [])):
        subprocess.run(["git", *command], cwd=place, env=environment, check=True)
    return subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=place, text=True).strip()


def said_of(place: Path) -> dict[str, dict]:
    return {kind: json.loads(said) for kind, said in description.describe(load_project(place), MODULE, PACKAGE).items()}


def test_both_statements_are_about_the_package(place):
    for said in said_of(place).values():
        assert said["_type"] == "https://in-toto.io/Statement/v1"
        assert [subject["digest"] for subject in said["subject"]] == [{"sha256": "ab" * 32}]


def test_the_sbom_lists_files_toolchain_and_what_lock_files_name(place):
    (place / "Cargo.lock").write_text(CARGO_LOCK)
    (place / "go.mod").write_text(GO_MOD)
    (place / "go.sum").write_text(GO_SUM)
    (place / "package-lock.json").write_text(json.dumps(PACKAGE_LOCK))
    bom = said_of(place)["sbom"]["predicate"]
    found = {component["bom-ref"]: component for component in bom["components"]}
    assert set(found) == {
        "file:main.wasm",
        "toolchain",
        "pkg:cargo/serde@1.0.228",
        "pkg:golang/golang.org/x/text@v0.30.0",
        "pkg:golang/github.com/pkg/errors@v0.9.1",
        "pkg:npm/%40types/node@24.0.0",
        "pkg:npm/b@2.0.0",
    }
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    assert found["file:main.wasm"]["hashes"] == [{"alg": "SHA-256", "content": "cd" * 32}]
    assert (found["toolchain"]["name"], found["toolchain"]["version"]) == ("rust", "rustc 1.90.0")
    assert found["pkg:cargo/serde@1.0.228"]["hashes"] == [{"alg": "SHA-256", "content": "12" * 32}]
    assert found["pkg:golang/golang.org/x/text@v0.30.0"]["properties"][0]["value"] == "A" * 43 + "="
    assert found["pkg:npm/%40types/node@24.0.0"]["hashes"][0]["alg"] == "SHA-512"


def test_the_sbom_is_valid_cyclonedx(place):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    (place / "Cargo.lock").write_text(CARGO_LOCK)
    text = json.dumps(said_of(place)["sbom"]["predicate"])
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_the_provenance_names_commit_inputs_lock_files_and_toolchain(place):
    (place / "Cargo.lock").write_text(CARGO_LOCK)
    revision = commit(place, "remote", "add", "origin", "https://me:secret@git.example.org/shop.git")
    said = said_of(place)["provenance"]
    build, run = said["predicate"]["buildDefinition"], said["predicate"]["runDetails"]
    assert said["predicateType"] == "https://slsa.dev/provenance/v1"
    assert build["internalParameters"] == {"toolchain": "rust", "toolchainVersion": "rustc 1.90.0"}
    source, lock, read = build["resolvedDependencies"]
    assert source["digest"] == {"gitCommit": revision}
    assert source["uri"] == "git+https://git.example.org/shop.git"
    assert source["annotations"] == {"dirty": False}
    assert lock == {"name": "Cargo.lock", "digest": {"sha256": hashlib.sha256(CARGO_LOCK.encode()).hexdigest()}}
    assert read == {"name": "src/main.rs", "digest": {"sha256": "ef" * 32}}
    assert run["metadata"] == {"finishedOn": "2026-02-03T04:05:06Z"}


def test_a_change_that_is_in_no_commit_is_told(place):
    commit(place)
    assert find_source(place).dirty is False
    (place / "new.c").write_text("")
    assert find_source(place).dirty is True


def test_the_date_is_that_of_the_sources_and_never_the_clock(place, monkeypatch):
    assert find_source(place).moment is None
    assert "timestamp" not in said_of(place)["sbom"]["predicate"]["metadata"]
    commit(place)
    assert find_source(place).moment == datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert said_of(place)["sbom"]["predicate"]["metadata"]["timestamp"] == "1970-01-01T00:00:00+00:00"


@pytest.mark.parametrize("epoch", ["-1", "tomorrow", "1" * 20])
def test_a_source_date_that_is_none(place, monkeypatch, epoch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
        find_source(place)


@pytest.mark.parametrize("key", ["core.fsmonitor", "filter.x.clean", "filter.x=y.clean", "filter.x.process"])
def test_no_program_that_a_repository_names_is_started(place, tmp_path, key):
    (place / ".gitattributes").write_text("* filter=x=y\n" if "=" in key else "* filter=x\n")
    (place / "read.me").write_text("as it was")
    commit(place, "config", key, f"touch {tmp_path / 'started'}; false")
    subprocess.run(["git", "config", f"{key.rpartition('.')[0]}.required", "true"], cwd=place, check=True)
    (place / "read.me").write_text("as it is!")
    assert find_source(place).dirty is True
    assert not (tmp_path / "started").exists()


def test_what_git_cannot_say_of_changes_is_not_taken_for_none(place):
    commit(place)
    (place / ".git" / "index").write_bytes(b"damaged")
    assert find_source(place).dirty is None


def test_the_statements_are_the_same_in_another_directory_by_another_process(place, tmp_path):
    (place / "Cargo.lock").write_text(CARGO_LOCK)
    commit(place)
    subprocess.run(["git", "clone", "-q", place, tmp_path / "elsewhere"], check=True)
    program = (
        "import sys; from pathlib import Path; from enarx_deploy import description; "
        "from enarx_deploy.project import load_project; import msgspec; "
        "from enarx_deploy.models import Module, Package; "
        "said = description.describe(load_project(Path(sys.argv[1])), msgspec.json.decode(sys.argv[2], type=Module), "
        "msgspec.json.decode(sys.argv[3], type=Package)); sys.stdout.buffer.write(said['sbom'] + said['provenance'])"
    )
    import msgspec

    facts = [msgspec.json.encode(MODULE).decode(), msgspec.json.encode(PACKAGE).decode()]
    made = [
        subprocess.check_output(
            [sys.executable, "-W", "error", "-c", program, where, *facts],
            env=os.environ | {"PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": "C"},
        )
        for where, seed, zone in ((place, "1", "UTC"), (tmp_path / "elsewhere", "2", "Asia/Tokyo"))
    ]
    assert made[0] == made[1]
    assert str(tmp_path).encode() not in made[0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("Cargo.lock", "[["),
        ("Cargo.lock", "[[package]]\nname = 'x'\nversion = 1\nsource = 'y'"),
        ("Cargo.lock", "[[package]]\nname = 'x'\nversion = '1'\nsource = 'y'\nchecksum = 'zz'"),
        ("package-lock.json", "[" * 100_000),
        ("package-lock.json", '{"dependencies": {}}'),
        ("package-lock.json", '{"packages": {"node_modules/a": {"version": "1\\u001b"}}}'),
        ("package-lock.json", '{"packages": []}'),
    ],
    ids=["not-toml", "version", "checksum", "deep", "npm-6", "control-character", "list"],
)
def test_a_lock_file_that_cannot_be_read_is_told_by_name(place, name, content):
    (place / name).write_text(content)
    with pytest.raises(PackageError, match=f"^{name}: cannot be read"):
        locked(load_project(place))


def test_a_lock_file_beside_the_sources_is_read(place):
    (place / "Enarx.toml").write_text('[build]\nsource = "code"\n')
    (place / "code").mkdir()
    (place / "code" / "Cargo.lock").write_text(CARGO_LOCK)
    assert [lock.path for lock in locked(load_project(place))] == ["code/Cargo.lock"]
