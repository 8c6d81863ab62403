"""`check` and `verify` as CI systems read them: JUnit's XML and SARIF, beside what people and programs are told."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx_deploy.cli.reports import Result, as_junit, as_sarif
from enarx_deploy.paths import write_atomically

BAD = """\
[[files]]
kind = "listen"
name = "web"
prto = "tls"

[build]
toolchian = "c"
"""
WARNED = '[[files]]\nkind = "stdin"\n\n[env]\nFD_COUNT = "3"\n'


def read(junit: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(junit)  # noqa: S314  # written by the program that is tested


@pytest.fixture
def check(enarx_deploy):
    """Check a manifest's text; the exit status, the suite of JUnit and the run of SARIF."""

    def run(text: str, **overlays: str):
        (enarx_deploy.directory / "Enarx.toml").write_text(text)
        for name, overlay in overlays.items():
            (enarx_deploy.directory / f"Enarx.{name}.toml").write_text(overlay)
        ended = enarx_deploy("check", "--junit", "check.xml", "--sarif", "check.sarif")
        junit = read((enarx_deploy.directory / "check.xml").read_bytes())
        (sarif,) = json.loads((enarx_deploy.directory / "check.sarif").read_text())["runs"]
        return ended.returncode, junit.find("testsuite"), sarif

    return run


def test_a_good_manifest_is_a_case_that_passed_and_no_result(check):
    status, suite, run = check('args = ["a"]\nfiles = []\n')
    assert status == 0
    assert [suite.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["1", "0", "0", "0"]
    (case,) = suite
    assert case.get("name") == "manifest"
    assert case.find("failure") is None
    assert run["results"] == []


def test_each_fault_is_a_failure_with_its_place(check):
    status, suite, run = check(BAD)
    assert status == 2
    assert suite.get("failures") == "3"
    failures = [case.find("failure") for case in suite]
    assert "unknown key `prto`" in failures[1].get("message")
    assert "hint: did you mean" in failures[1].text
    regions = [one["locations"][0]["physicalLocation"]["region"] for one in run["results"]]
    assert regions[-1] == {"startLine": 7, "startColumn": 1}
    uris = {one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in run["results"]}
    assert uris == {"Enarx.toml"}
    assert {one["level"] for one in run["results"]} == {"error"}
    assert [run["tool"]["driver"]["rules"][one["ruleIndex"]]["id"] for one in run["results"]] == [
        one["ruleId"] for one in run["results"]
    ]


def test_a_fault_of_an_overlay_has_its_place_there(check):
    status, _, run = check("files = []\n", prod="[deploy.prod]\nreplicas = 0\n")
    assert status == 2
    (result,) = run["results"]
    place = result["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("Enarx.prod.toml", 2)


def test_a_warning_is_one_and_fails_nothing(check):
    status, suite, run = check(WARNED)
    assert status == 0
    assert suite.get("failures") == "0"
    (result,) = run["results"]
    assert result["level"] == "warning"
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 5


def test_the_answer_is_the_same_as_without(enarx_deploy, check):
    check(BAD)
    plain = enarx_deploy("check", "--json")
    with_files = enarx_deploy("check", "--json", "--junit", "x.xml", "--sarif", "x.sarif")
    assert (plain.returncode, plain.stdout) == (with_files.returncode, with_files.stdout)


def test_a_file_that_cannot_be_written_is_said_before_anything_is_looked_at(enarx_deploy):
    ended = enarx_deploy("check", "--junit", "nowhere/x.xml")
    assert ended.returncode == 2
    assert "nowhere/x.xml: its directory is not there" in ended.stderr


def test_where_nothing_answers_verify_is_a_failure_in_both(enarx_deploy, tmp_path):
    ended = enarx_deploy(
        "verify", "localhost:1", "--any-workload", "--junit", f"{tmp_path}/v.xml", "--sarif", f"{tmp_path}/v.sarif"
    )
    assert ended.returncode == 1
    suite = read((tmp_path / "v.xml").read_bytes()).find("testsuite")
    assert suite.get("name") == "localhost:1"
    assert [case.get("name") for case in suite if case.find("failure") is not None] == ["connect"]
    assert "hint: " in next(case.find("failure").text for case in suite if case.find("failure") is not None)
    (result,) = json.loads((tmp_path / "v.sarif").read_text())["runs"][0]["results"]
    assert result["ruleId"] == "connect"
    assert result["locations"] == [{"logicalLocations": [{"fullyQualifiedName": "localhost:1"}]}]


results = st.lists(
    st.builds(
        Result,
        rule=st.text(min_size=1),
        outcome=st.sampled_from(["passed", "failed", "warned", "skipped"]),
        message=st.text(),
        hint=st.text(),
        line=st.integers(0, 10),
    ),
    max_size=5,
)


@pytest.fixture(scope="module")
def published(kept):
    """A validator of the published schema of SARIF 2.1.0, which is fetched once."""
    place = kept / "sarif-2.1.0-rtm.5.json"
    if not place.exists():
        if shutil.which("npm") is None:
            pytest.skip("needs npm, to fetch the schema")
        with tempfile.TemporaryDirectory() as folder:
            words = ["npm", "pack", "--silent", "@microsoft/jest-sarif@1.0.0-beta.0"]
            packed = subprocess.run(words, cwd=folder, capture_output=True, text=True)
            if packed.returncode:
                pytest.skip(f"the schema cannot be fetched: {packed.stderr}")
            with tarfile.open(Path(folder, packed.stdout.strip())) as archive:
                write_atomically(place, archive.extractfile(f"package/lib/schemas/{place.name}").read())
    return jsonschema.Draft4Validator(json.loads(place.read_bytes()), format_checker=jsonschema.FormatChecker())


@given(subject=st.text(), found=results)
def test_whatever_is_found_the_published_schema_takes_it(published, subject, found):
    assert [error.message for error in published.iter_errors(json.loads(as_sarif(subject, found)))] == []


def test_junit_has_the_attributes_that_the_xsd_of_jenkins_has():
    """And `file` of a case, which GitLab reads."""
    made = [
        Result(rule="a", outcome=outcome, message="m", hint="h", file="Enarx.toml", line=1)
        for outcome in ("passed", "failed", "warned", "skipped")
    ]
    (suite,) = suites = read(as_junit("Enarx.toml", made))
    assert (suites.tag, suite.tag) == ("testsuites", "testsuite")
    assert set(suites.attrib) <= {"name", "time", "tests", "failures", "disabled", "errors"}
    assert set(suite.attrib) <= {"name", "tests", "failures", "errors", "time", "disabled", "skipped", "timestamp"}
    for case in suite:
        assert set(case.attrib) <= {"name", "assertions", "time", "classname", "status", "file"}
        assert {inside.tag for inside in case} <= {"skipped", "error", "failure", "system-out", "system-err"}
        assert all(set(inside.attrib) <= {"type", "message"} for inside in case)


@given(st.text(), results)
def test_whatever_is_found_both_forms_can_be_read(subject, found):
    suite = read(as_junit(subject, found)).find("testsuite")
    assert len(suite) == int(suite.get("tests")) == len(found)
    assert len(suite.findall("testcase/failure")) == int(suite.get("failures"))
    (run,) = json.loads(as_sarif(subject, found))["runs"]
    assert len(run["results"]) == sum(one.outcome in ("failed", "warned") for one in found)
