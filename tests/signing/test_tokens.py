"""Keys in PKCS#11 tokens, by their URI, with SoftHSM as the device."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from enarx_signing import KeyFault, Signer, Signers, SigningKey, package_signature, pkcs11_uri
from enarx_signing.token import TokenKey

GOOD = "pkcs11:token=keys;object=release?module-path=/usr/lib/libx.so&pin-source=file:/etc/pin"
MODULES = [Path(place) / "softhsm/libsofthsm2.so" for place in ("/usr/lib", "/usr/lib64", "/usr/lib/x86_64-linux-gnu")]
PACKAGE = "sha256:" + "ab" * 32
PIN = "739201"


@pytest.fixture
def device(tmp_path, monkeypatch):
    """A module with one token, `my keys`, whose PIN is in a file; answers the module's path."""
    pytest.importorskip("pkcs11", reason="needs python-pkcs11")
    module = next((module for module in MODULES if module.exists()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        pytest.skip("needs SoftHSM")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path / 'tokens'}\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    words = ["--init-token", "--free", "--label", "my keys", "--pin", PIN, "--so-pin", "5555"]
    subprocess.run(["softhsm2-util", *words], check=True, capture_output=True)
    (tmp_path / "pin").write_text(PIN + "\n")
    (tmp_path / "pin").chmod(0o600)
    return module


def test_a_key_in_a_token_signs_packages(device, tmp_path, enarx_deploy):
    uri = f"pkcs11:token=my%20keys;object=release;type=private?module-path={device}&pin-source=file:{tmp_path / 'pin'}"
    TokenKey(pkcs11_uri.parse(uri)).make()
    key = SigningKey(TokenKey(pkcs11_uri.parse(uri)))
    envelope = package_signature.sign(PACKAGE, {}, [key])
    signers = Signers([Signer(name="release", key=key.public)])
    assert package_signature.verify(envelope, PACKAGE, signers, datetime.now(UTC)).signers[0].name == "release"
    shown = enarx_deploy("key", "show", uri, env={"SOFTHSM2_CONF": os.environ["SOFTHSM2_CONF"]})
    assert shown.stdout == f"{key.public.id} p256\n{key.public.pem}"


def test_the_parts_of_a_uri():
    token = pkcs11_uri.parse(GOOD)
    assert (token.module, token.token, token.key, token.pin_file) == ("/usr/lib/libx.so", "keys", "release", "/etc/pin")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (GOOD + "&pin-value=1234", "has a PIN in it"),
        (GOOD.replace("token=keys;", ""), "lacks 'token'"),
        (GOOD.replace("object=release", ""), "lacks 'object'"),
        (GOOD + "&pin-source=file:/other", "'pin-source' twice"),
        (GOOD.replace("?", ";slot-id=1?"), "'slot-id' twice, or it means nothing"),
        (GOOD.replace("?", ";type=public?"), "not a private one"),
        ("pkcs11:" + "a" * 5000, "not a PKCS#11 URI"),
    ],
    ids=["pin-in-uri", "no-token", "no-key", "twice", "unknown", "public", "long"],
)
def test_a_uri_that_names_no_key(uri, message):
    with pytest.raises(KeyFault, match=message) as caught:
        pkcs11_uri.parse(uri)
    assert "1234" not in f"{caught.value} {caught.value.hint}"
