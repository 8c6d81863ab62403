"""The OpenAPI document is what the Steward does: it is asked by it, and its answers are held against it."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import httpx
import jsonschema
import pytest

from enarx_steward import answers, openapi, policy
from enarx_steward.app import make_app
from enarx_steward.ca import Authority
from enarx_steward.issuance import Steward, utc_now
from enarx_steward.root import Root

from .conftest import POLICY

HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
PUBLIC = f"{POLICY}\n[log]\npublic = true\n"

# What the document allows is a request of the right form, and hardly ever one with a certificate request in it.
EXCLUDED = "positive_data_acceptance"


@pytest.fixture
def public(start):
    """A Steward whose log can be read."""
    return start(policy=PUBLIC).client


@pytest.fixture
def document(public):
    return public.http.get(f"{public.url}/v1/openapi.json").raise_for_status().json()


@pytest.fixture
def conforms(document):
    """Hold an answer against the document: status, media type and content."""

    def conforms(answer: httpx.Response) -> dict:
        operation = document["paths"][answer.request.url.path][answer.request.method.lower()]
        content = operation["responses"][str(answer.status_code)]["content"]
        schema = content[answer.headers["content-type"]]["schema"] | {"components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer.json())
        return answer.json()

    return conforms


def test_schemathesis_finds_nothing(public, tmp_path):
    words = ["--seed", "1", "--max-examples", "20", "--phases", "examples,coverage,fuzzing", "--no-color"]
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{public.url}/v1/openapi.json", *words),
            *("--checks", "all", "--exclude-checks", EXCLUDED, "--max-failures", "5"),
        ],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SCHEMATHESIS_HOOKS": str(HOOKS)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "10 selected / 10 total" in ended.stdout


def test_every_path_that_is_served_is_in_the_document_and_none_else(document):
    accepted, now = policy.parse(POLICY.encode()), utc_now()
    steward = Steward(Authority.create(Root.create(now), accepted, now), accepted, audience="a")
    served = {(route.path, method.lower()) for route in make_app(steward).routes for method in route.methods - {"HEAD"}}
    assert served == {(path, method) for path, methods in document["paths"].items() for method in methods}


def test_it_is_made_from_what_is_served(document):
    assert document == openapi.document()
    assert document["openapi"] == "3.1.0"


def test_certificates_and_the_log_are_as_the_document_says(public, keep, conforms):
    nonce = conforms(public.http.post(f"{public.url}/v1/nonce"))["nonce"]
    data = base64.b64decode(nonce)
    certified = conforms(public.ask(keep.request(), data, keep.evidence(data, public.audience)))
    assert certified["appraisal"]["ok"]
    fresh = public.nonce()
    renewal = {
        "csr": base64.b64encode(keep.request()).decode(),
        "nonce": base64.b64encode(fresh).decode(),
        "evidence": {"kind": "nil", "data": base64.b64encode(keep.evidence(fresh, public.audience)).decode()},
        "chain": certified["chain"],
    }
    conforms(public.http.post(f"{public.url}/v1/renew", json=renewal))
    for path in ("info", "health", "log", "log/head"):
        conforms(public.http.get(f"{public.url}/v1/{path}"))


def test_refusals_are_as_the_document_says(public, keep, conforms):
    early = conforms(public.ask(keep.request(), b"n" * 32, keep.evidence(b"n" * 32, "x")))
    assert (early["code"], early["checks"], early["appraisal"]["ok"]) == ("refused", ["nonce.open"], False)
    nonce = public.nonce()
    late = conforms(public.ask(keep.request(), nonce, keep.evidence(nonce, "elsewhere")))
    assert (late["checks"], late["appraisal"]["kind"]) == (["binding.report-data"], "nil")
    assert conforms(public.ask(b"no request", public.nonce(), b"{}"))["code"] == "malformed"
    assert conforms(public.http.get(f"{public.url}/v1/log?limit=0"))["code"] == "malformed"


def test_every_problem_is_in_the_document_or_comes_before_any_path():
    described = {code for one in openapi.OPERATIONS for code in one.problems} | {"host", "origin", "rate", "internal"}
    assert described == set(answers.KINDS) - {"not-found", "method"}
