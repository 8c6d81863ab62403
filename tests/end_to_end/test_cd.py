"""The workflow files of `templates/cd`: valid in their systems' own schemas, and each step done here in order."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from enarx_steward.root import Root

CD = Path(__file__).parents[2] / "templates" / "cd"
SCHEMAS = {"github-actions.yml": "vendor.github-workflows", "gitlab-ci.yml": "vendor.gitlab-ci"}


def shell(name: str) -> list[str]:
    """The shell that a system starts for a script: GitHub's fails in the middle of a pipe only where it is named."""
    fails_amid = (
        name == "gitlab-ci.yml" or yaml.safe_load((CD / name).read_text())["defaults"]["run"]["shell"] == "bash"
    )
    return ["bash", "-e", *(["-o", "pipefail"] if fails_amid else []), "-c"]


def steps(name: str) -> list[tuple[str, dict[str, str]]]:
    """What a workflow runs: a script for each shell that its system starts, and the variables for it alone."""
    document = yaml.safe_load((CD / name).read_text())
    if name == "gitlab-ci.yml":
        return [("\n".join(document["deploy"]["script"]), {})]
    (job,) = document["jobs"].values()
    return [(step["run"], step.get("env", {})) for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_workflow_is_valid_in_its_systems_schema(name):
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[name], str(CD / name)]
    ended = subprocess.run(words, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("name", SCHEMAS)
def test_no_script_holds_what_its_system_would_put_in(name):
    """Such as ${{ … }}, which becomes part of the script, whatever it is."""
    for script, _ in steps(name):
        assert "${{" not in script


@pytest.fixture
def job(cli, echo_project, tmp_path):
    """A checkout as a job finds it, its variables, and the program on PATH."""
    project = echo_project("checkout", extra='[deploy.test]\nbackend = "nil"\n')
    key = tmp_path / "signing.pem"
    assert cli("key", "generate", str(key), "--no-passphrase").returncode == 0
    programs = Path(sys.executable).parent
    variables = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "CI": "true",
        "ENVIRONMENT": "test",
        "REFERENCE": f"dir:{tmp_path}/registry",
        "ACCEPT": "nil",
        "ENARX_REGISTRY": "",
        "ENARX_DEPLOY_ID_TOKEN_AUDIENCE": "",
        # What the workflow installs is here already: pip has nobody to ask for it.
        **{f"PIP_{name}": "1" for name in ("NO_INDEX", "NO_DEPS", "DISABLE_PIP_VERSION_CHECK")},
    }
    return project, cli._environment() | variables, key


@pytest.mark.skipif(shutil.which("enarx-deploy", path=str(Path(sys.executable).parent)) is None, reason="not installed")
@pytest.mark.parametrize("name", SCHEMAS)
def test_every_step_of_a_workflow_is_done_in_order(name, job, cli):
    """And again, of the one: nothing is left to do then, and every step ends well."""
    project, environment, key = job
    environment["SIGNING_KEY"] = str(key) if name == "gitlab-ci.yml" else ""
    deployed = []
    for _ in range(2 if name == "gitlab-ci.yml" else 1):
        for script, own in steps(name):
            given = environment | ({"SIGNING_KEY": key.read_text()} if "SIGNING_KEY" in own else {})
            ended = subprocess.run([*shell(name), script], cwd=project, env=given, capture_output=True, text=True)
            assert ended.returncode == 0, f"{script}\n{ended.stdout}{ended.stderr}"
            assert "\x1b" not in ended.stdout + ended.stderr
            assert "PRIVATE KEY" not in ended.stdout + ended.stderr
        deployed.append(json.loads((project / "up.json").read_text()))
    assert deployed[0]["deployment"] == deployed[-1]["deployment"]
    assert all(stage["skipped"] for again in deployed[1:] for stage in again["stages"])
    assert ("nothing changes" in (project / "plan.txt").read_text()) is (len(deployed) > 1)

    signed = json.loads(cli("package", "show", "--json", cwd=project).stdout)
    assert [one["keys"] for one in signed["attachments"] if one["kind"] == "signature"]
    published = json.loads((project / "published.json").read_text())
    assert deployed[0]["deployment"]["package"] in json.dumps(published)
    assert "<html" in (project / "report.html").read_text()
    verified = ElementTree.parse(project / "verify.xml").getroot()  # noqa: S314  # as the job wrote it
    assert int(verified.get("tests")) > 10
    assert verified.get("failures") == "0"

    if name == "github-actions.yml":  # whose last step verifies, and can be done again alone
        root = project / "other.pem"
        root.write_text(Root.create(datetime.now(UTC)).pem)
        words = [*shell(name), steps(name)[-1][0]]
        other = subprocess.run(
            words, cwd=project, env=environment | {"ROOT": str(root)}, capture_output=True, text=True
        )
        assert other.returncode == 3, other.stderr
        assert "another root" in other.stderr
