"""The example of docs/writing-a-backend.md: it passes the kit, and binds a realm to its package."""

from __future__ import annotations

import base64
import importlib.util
import json
from pathlib import Path

import pytest

from enarx_attestation import load_policy
from enarx_deploy.models import Package
from enarx_deploy.testing import BackendConformance

_SPEC = importlib.util.spec_from_file_location("cca_backend", Path(__file__).with_name("cca.py"))
cca = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(cca)

DIGEST = "sha256:" + "ab" * 32


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """Where the image and its measurements are."""
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path / "cache"))
    place = cca._folder()
    for name, text in {"kernel": "k", "initrd": "i", "cmdline": "quiet", "rims": "11" * 64 + "\n" + "22" * 64}.items():
        (place / name).write_text(text)
    return place


class TestCca(BackendConformance):
    backend = cca.Cca()


def test_a_realm_is_bound_to_its_package_by_the_personalization_value():
    said = cca.words(DIGEST, 7)
    guest = json.loads(said[said.index("-object") + 1])
    wanted = bytes.fromhex("ab" * 32) + bytes(32)
    assert base64.b64decode(guest["personalization-value"]) == wanted
    values = cca.Cca().measure(Package(digest=DIGEST, root="", size=0, files=[]))
    section = load_policy(values.policy).section("cca")
    assert section.personalization_values == (wanted.hex(),)
    assert section.rims == ("11" * 64, "22" * 64)


def test_without_measurements_there_are_no_reference_values(folder):
    (folder / "rims").unlink()
    with pytest.raises(cca.KeepError) as caught:
        cca.Cca().measure(Package(digest=DIGEST, root="", size=0, files=[]))
    assert "realm-measurements" in caught.value.hint
