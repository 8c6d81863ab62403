"""`up` and the stages one by one: what is made, what is skipped, what is done when something changed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding


@pytest.fixture
def up(enarx_deploy, shelf):
    """Run `up --json` and read its answer."""

    def run(*words: str, **options: Any) -> dict[str, Any]:
        ended = enarx_deploy("up", "--json", *words, **options)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    return run


@pytest.fixture
def calls(shelf):
    """What the providers were asked for since the last time."""
    seen = 0

    def since() -> list[str]:
        nonlocal seen
        lines = (shelf / "calls").read_text().splitlines()
        seen, new = len(lines), lines[seen:]
        return new

    return since


def skipped(answer: dict[str, Any]) -> list[str]:
    return [stage["name"] for stage in answer["stages"] if stage["skipped"]]


def change_keep(shelf: Path, keep: str, **changes: Any) -> None:
    path = shelf / f"{keep}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


ALL = ["compile", "package", "attest", "deploy", "provision_tls"]


def test_json_has_exactly_the_documented_form(up):
    answer = up()
    digest = answer["endpoints"][0].pop("certificate_sha256")
    assert digest.startswith("sha256:")
    assert len(digest) == 71
    assert answer["endpoints"] == [{"name": "web", "host": "::", "port": 4433, "prot": "tls"}]
    assert set(answer["deployment"]) == {"id", "backend", "target", "package"}
    assert answer["deployment"]["id"] == "k001"
    assert (answer["deployment"]["backend"], answer["deployment"]["target"]) == ("shelf", "shelf")
    assert answer["steward"]["url"] == "https://shelf.invalid"
    assert set(answer["steward"]) == {"url", "root_pem_path", "appraised"}
    assert [stage["name"] for stage in answer["stages"]] == ALL
    assert all(set(stage) == {"name", "skipped", "seconds"} for stage in answer["stages"])
    assert set(answer) == {"deployment", "endpoints", "steward", "identity", "in_clear", "stages", "replicas", "asked"}


def test_people_are_told_from_whom_for_how_long_and_where(enarx_deploy, shelf):
    ended = enarx_deploy("up")
    assert ended.returncode == 0, ended.stderr
    told = " ".join(ended.stdout.split())
    assert "from whom only from those on the network: backend shelf has no hardware protection" in told
    assert "for how long the certificate of shelf is valid until 20" in told
    assert "where TLS ends inside the Keep, on target shelf; the machine that it runs on sees all that" in told
    assert "check it enarx-deploy verify localhost:4433" in told
    assert "secure" not in told


SAID_BY_ANOTHER = """
import msgspec
from enarx_deploy.hookspecs import hookimpl
@hookimpl(wrapper=True)
def provision_tls(project, deployment, target, issuer, progress):
    identity = yield
    served = [msgspec.structs.replace(one, chain_pem=%r) for one in identity.endpoints]
    return msgspec.structs.replace(identity, endpoints=served[:%d])
"""


def certificate_for(name: str) -> str:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    builder = x509.CertificateBuilder(x509.Name([]), x509.Name([]), key.public_key(), 1, now, now + timedelta(days=1))
    made = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False).sign(key, SHA256())
    return made.public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize(
    ("chain", "endpoints"),
    [("", 0), ("-----BEGIN CERTIFICATE-----\nleaf\n-----END CERTIFICATE-----\n", 1), (certificate_for("a\n  b"), 1)],
    ids=["none", "damaged", "name-of-two-lines"],
)
def test_a_certificate_that_another_machine_is_wrong_about_spoils_no_answer(
    enarx_deploy, shelf, install_plugin, chain, endpoints
):
    """A target may only repeat what it was told of what its Keeps serve."""
    install_plugin("another", SAID_BY_ANOTHER % (chain, endpoints))
    ended = enarx_deploy("up")
    assert ended.returncode == 0, ended.stderr
    (check,) = [line.split() for line in ended.stdout.splitlines() if line.startswith("  check it")]
    assert check[2:5] == ["enarx-deploy", "verify", "localhost:4433"]
    assert "--server-name" not in check


def test_the_stages_run_in_order_and_the_providers_do_the_work(up, calls):
    up()
    assert calls() == ["build", "measure", "check", "start", "request_certificate", "install_certificate"]


def test_nothing_is_done_again_when_nothing_changed(up, calls):
    first = up()
    calls()
    second = up()
    assert skipped(second) == ALL
    assert calls() == []
    assert second["deployment"] == first["deployment"]
    assert second["endpoints"] == first["endpoints"]


def test_skipping_is_said(enarx_deploy, shelf):
    enarx_deploy("up")
    shown = enarx_deploy("up").stderr
    assert [line.split()[0] for line in shown.splitlines() if " unchanged: " in line] == ALL


def test_force_does_everything_again(up, calls):
    up()
    calls()
    answer = up("--force")
    assert skipped(answer) == []
    assert calls()[-5:] == ["stop k001 10", "check", "start", "request_certificate", "install_certificate"]


def test_a_changed_source_replaces_the_keep_the_old_one_first(up, calls, enarx_deploy):
    up()
    calls()
    (enarx_deploy.directory / "main.shelf").write_text("beech")
    answer = up()
    assert skipped(answer) == []
    assert answer["deployment"]["id"] == "k002"
    assert calls() == [
        "build", "measure", "stop k001 10", "check", "start", "request_certificate", "install_certificate"
    ]  # fmt: skip


def test_a_new_source_file_is_a_change(up, enarx_deploy):
    up()
    (enarx_deploy.directory / "more.shelf").write_text("ash")
    assert "compile" not in skipped(up())


def test_touching_a_source_is_no_change(up, enarx_deploy):
    up()
    (enarx_deploy.directory / "main.shelf").write_text("oak")
    assert skipped(up()) == ALL


def test_another_version_of_the_tool_builds_again(up):
    up()
    # The module comes out the same, so that nothing after it has to be done.
    assert skipped(up(env={"SHELF_TOOL": "shelf 2"})) == ["package", "attest", "deploy", "provision_tls"]


def test_a_changed_manifest_makes_a_new_package(up):
    up()
    assert skipped(up("--set", 'args=["x"]')) == ["compile"]


def test_a_changed_asset_makes_a_new_package(up, enarx_deploy):
    page = enarx_deploy.directory / "page.html"
    page.write_text("one")
    with (enarx_deploy.directory / "Enarx.toml").open("a") as manifest:
        manifest.write('[[package.assets]]\nsource = "page.html"\nguest = "/page.html"\n')
    up()
    assert skipped(up()) == ALL
    page.write_text("two")
    assert skipped(up()) == ["compile"]


def test_a_damaged_module_is_built_again(up, enarx_deploy):
    up()
    with (enarx_deploy.directory / ".enarx" / "main.wasm").open("ab") as module:
        module.write(b"more")
    assert "compile" not in skipped(up())


def test_a_damaged_package_is_made_again(up, enarx_deploy):
    up()
    shutil.rmtree(enarx_deploy.directory / ".enarx" / "packages")
    assert "package" not in skipped(up())


def test_a_damaged_record_is_made_again(enarx_deploy, shelf):
    digest = json.loads(enarx_deploy("package", "--json").stdout)["digest"]
    for record in (enarx_deploy.directory / ".enarx" / "records").iterdir():
        record.write_text("{}")
    again = enarx_deploy("package", "--json", "-v")
    assert json.loads(again.stdout)["digest"] == digest
    assert "unchanged" not in again.stderr
    assert enarx_deploy("package").stderr.count("unchanged") == 2


def test_a_keep_that_the_project_no_longer_knows_of_is_not_stopped(up, enarx_deploy, shelf, calls):
    """Without its records the project cannot tell that the Keep is its own: the target says what is in the way."""
    up()
    calls()
    shutil.rmtree(enarx_deploy.directory / ".enarx")
    ended = enarx_deploy("up")
    assert ended.returncode == 1
    assert "the port is in use" in ended.stderr
    assert not [call for call in calls() if call.startswith("stop")]


def test_a_ready_made_work_directory_of_somebody_else_is_not_believed(up, enarx_deploy, calls):
    """The records are in order, but another user wrote them: `.enarx` may have come with the sources."""
    up()
    calls()
    (Path(enarx_deploy.environment["ENARX_DEPLOY_STATE_DIR"]) / "records.key").unlink()
    assert skipped(up())[:1] != ["compile"]
    assert calls()[0] == "build"


@pytest.mark.parametrize("state", ["exited", "failed", "crashed"])
def test_a_keep_that_is_gone_is_started_anew(up, shelf, calls, state):
    up()
    calls()
    change_keep(shelf, "k001", state=state)
    answer = up()
    assert skipped(answer) == ["compile", "package", "attest"]
    assert answer["deployment"]["id"] == "k002"
    assert not [call for call in calls() if call.startswith("stop")]


def test_a_keep_whose_certificate_has_run_out_is_replaced(up, calls):
    up(env={"SHELF_LIFETIME": "-1"})
    calls()
    answer = up()
    assert skipped(answer) == ["compile", "package", "attest"]
    assert "stop k001 10" in calls()


def test_a_keep_that_renewed_its_certificate_is_left_alone(up, shelf):
    up(env={"SHELF_LIFETIME": "-1"})
    change_keep(shelf, "k001", certificate_not_after="2999-01-01T00:00:00Z")
    assert skipped(up()) == ALL


def test_a_keep_that_waits_for_its_certificate_gets_it(up, enarx_deploy, calls):
    deployed = enarx_deploy("deploy", "--json")
    assert json.loads(deployed.stdout)["id"] == "k001"
    calls()
    answer = up()
    assert skipped(answer) == ["compile", "package", "attest", "deploy"]
    assert calls() == ["request_certificate", "install_certificate"]


def test_a_keep_that_gets_no_certificate_does_not_stay(enarx_deploy, shelf, calls):
    ended = enarx_deploy("up", env={"SHELF_REFUSES": "1"})
    assert ended.returncode == 1
    assert "enarx-deploy: the Steward refused\n  hint: ask it why\n" in ended.stderr
    assert "stopping Keep k001" in ended.stderr
    assert calls()[-1] == "stop k001 0"


def test_a_project_without_tls_asks_for_no_certificate(up, enarx_deploy, calls):
    manifest = enarx_deploy.directory / "Enarx.toml"
    manifest.write_text(manifest.read_text().replace('"tls"', '"tcp"'))
    answer = up()
    assert calls() == ["build", "measure", "check", "start", "install_certificate"]
    assert answer["endpoints"] == [{"name": "web", "host": "::", "port": 4433, "prot": "tcp", "certificate_sha256": ""}]
    assert answer["steward"] == {"url": "", "root_pem_path": "", "appraised": False}
    assert skipped(up()) == ALL


def test_each_deployment_of_a_project_has_its_own_keep(up, enarx_deploy, calls):
    with (enarx_deploy.directory / "Enarx.toml").open("a") as manifest:
        manifest.write('[deploy.other]\ntarget = "shelf"\nbackend = "shelf"\nname = "other"\n')
    up()
    answer = up("--target", "other")
    assert answer["deployment"]["id"] == "k002"
    assert not [call for call in calls() if call.startswith("stop")]
    assert skipped(up()) == ALL
    assert skipped(up("--target", "other")) == ALL


def test_several_deployments_and_none_is_meant(enarx_deploy, shelf):
    manifest = enarx_deploy.directory / "Enarx.toml"
    manifest.write_text(manifest.read_text().replace("deploy.default", "deploy.one") + "[deploy.two]\n")
    ended = enarx_deploy("up")
    assert ended.returncode == 2
    assert "2 [deploy] tables: one, two" in ended.stderr
    assert "--target NAME" in ended.stderr


def test_two_runs_in_one_project_wait_for_each_other(enarx_deploy, shelf, install_plugin):
    install_plugin("slow", SLOW_STAGE)
    first = enarx_deploy.start("compile")
    deadline = time.monotonic() + 120
    while not (enarx_deploy.directory / "inside").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    second = enarx_deploy.start("compile")
    waits = f"another enarx-deploy (process {first.pid}) is at work in this project; waiting for it"
    assert any(waits in line for line in iter(second.stderr.readline, ""))
    (enarx_deploy.directory / "go-on").touch()
    assert first.wait(120) == 0
    assert second.wait(120) == 0
    first.communicate()
    assert "compile        unchanged: " in second.communicate()[1]


SLOW_STAGE = """
import time
from enarx_deploy.hookspecs import hookimpl

@hookimpl(wrapper=True)
def compile(project):
    (project.root / "inside").touch()
    while not (project.root / "go-on").exists():
        time.sleep(0.02)
    return (yield)
"""


def test_an_interrupted_run_ends_with_130_and_leaves_no_lock(enarx_deploy, shelf, install_plugin):
    install_plugin("slow", SLOW_STAGE)
    process = enarx_deploy.start("compile")
    while not (enarx_deploy.directory / "inside").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in error
    (enarx_deploy.directory / "go-on").touch()
    assert enarx_deploy("compile", timeout=120).returncode == 0


INTERRUPTED_AT_AN_IMPORT = """
import sys
from enarx_deploy.cli.main import main

class Interrupted:
    def find_spec(name, path, target=None):
        if name == "enarx_deploy.cli.app":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted)
sys.exit(main(["keeps"]))
"""


def test_an_interrupt_before_the_command_has_begun_shows_no_traceback():
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT_AN_IMPORT], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_stages_can_be_run_one_by_one(enarx_deploy, shelf, calls):
    module = json.loads(enarx_deploy("compile", "--json").stdout)
    assert module["toolchain"] == "shelf"
    assert Path(module["path"]).read_bytes().startswith(b"\0asm")
    package = json.loads(enarx_deploy("package", "--json").stdout)
    assert [file["path"] for file in package["files"]] == ["Enarx.toml", "main.wasm"]
    values = json.loads(enarx_deploy("attest", "--json").stdout)
    assert values["package"] == package["digest"]
    assert calls() == ["build", "measure"]
    assert enarx_deploy("package").stdout == f"{package['digest']} {package['root']}\n"


def test_a_directory_that_is_no_project_is_said_to_be_none_and_left_as_it_was(enarx_deploy):
    ended = enarx_deploy("up")
    assert ended.returncode == 2
    assert "is not a project: it has no Enarx.toml, and no source that a toolchain knows" in ended.stderr
    assert "enarx-deploy new" in ended.stderr
    assert list(enarx_deploy.directory.iterdir()) == []
