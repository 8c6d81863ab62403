"""Envelopes and the statements in them: the form, who signed, and what is refused."""

from __future__ import annotations

import base64
import json
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from enarx_signing import (
    MalformedEnvelope,
    PublicKey,
    RefusedSignature,
    Signer,
    Signers,
    SigningKey,
    dsse,
    package_signature,
    statement,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PACKAGE = "sha256:" + "ab" * 32
ED25519 = SigningKey(Ed25519PrivateKey.generate())
P256 = SigningKey(generate_private_key(SECP256R1()))
STRANGER = SigningKey(Ed25519PrivateKey.generate())


def trusted(*keys: SigningKey, **times: datetime) -> Signers:
    return Signers(Signer(name=f"signer {n}", key=key.public, **times) for n, key in enumerate(keys))


def refusal(envelope: bytes, signers: Signers, package: str = PACKAGE, at: datetime = NOW) -> str:
    with pytest.raises(RefusedSignature) as caught:
        package_signature.verify(envelope, package, signers, at)
    return str(caught.value)


def test_the_encoding_of_what_is_signed_is_that_of_the_specification():
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert dsse.pae("ü", b"") == b"DSSEv1 2 \xc3\xbc 0 "


@pytest.mark.parametrize("key", [ED25519, P256], ids=["ed25519", "p256"])
def test_openssl_verifies_what_a_key_signs(key, tmp_path):
    envelope = dsse.read(dsse.sign(b"hello", "text/plain", [key]))
    for name, data in (("message", envelope.message), ("signature", envelope.signatures[0].value)):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "key.pem").write_text(key.public.pem)
    raw = ["-rawin"] if key is ED25519 else ["-rawin", "-digest", "sha256"]
    words = ["pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", *raw, "-in", "message", "-sigfile", "signature"]
    ended = subprocess.run(["openssl", *words], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_every_trusted_key_that_signed_is_named():
    envelope = package_signature.sign(PACKAGE, {"sbom": "sha256:" + "cd" * 32}, [ED25519, STRANGER, P256])
    signed = package_signature.verify(envelope, PACKAGE, trusted(ED25519, P256), NOW)
    assert [signer.key for signer in signed.signers] == [ED25519.public, P256.public]
    assert signed.described == {"sbom": "sha256:" + "cd" * 32}


def test_a_signature_of_nobody_that_is_trusted():
    envelope = package_signature.sign(PACKAGE, {}, [STRANGER])
    assert f"{STRANGER.public.id} is not trusted" in refusal(envelope, trusted(ED25519))
    assert "is not trusted" in refusal(envelope, Signers())


def test_a_signature_under_the_name_of_a_trusted_key():
    found = json.loads(package_signature.sign(PACKAGE, {}, [STRANGER]))
    found["signatures"][0]["keyid"] = ED25519.public.id
    assert "is wrong" in refusal(json.dumps(found).encode(), trusted(ED25519))


def test_a_signature_that_names_no_key_is_tried_with_each():
    found = json.loads(package_signature.sign(PACKAGE, {}, [P256]))
    del found["signatures"][0]["keyid"]
    signed = package_signature.verify(json.dumps(found).encode(), PACKAGE, trusted(ED25519, P256), NOW)
    assert [signer.name for signer in signed.signers] == ["signer 1"]


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ({"not_before": NOW + timedelta(1)}, "counts from 2026-06-02"),
        ({"not_after": NOW - timedelta(1)}, "counted until 2026-05-31"),
        ({"revoked_at": NOW}, "was revoked at 2026-06-01"),
    ],
    ids=["not-yet", "no-more", "revoked"],
)
def test_a_key_counts_in_its_time_alone(times, reason):
    assert reason in refusal(package_signature.sign(PACKAGE, {}, [ED25519]), trusted(ED25519, **times))


def test_a_revoked_key_does_not_spoil_the_signature_of_another():
    signers = Signers([*trusted(ED25519, revoked_at=NOW), *trusted(P256)])
    signed = package_signature.verify(package_signature.sign(PACKAGE, {}, [ED25519, P256]), PACKAGE, signers, NOW)
    assert [signer.key for signer in signed.signers] == [P256.public]


def test_a_signature_of_another_package():
    envelope = package_signature.sign(PACKAGE, {}, [ED25519])
    assert "not about the package" in refusal(envelope, trusted(ED25519), "sha256:" + "ba" * 32)


def test_a_statement_about_more_than_the_package():
    subjects = [{"name": "x", "digest": {"sha256": digest * 32}} for digest in ("ab", "ba")]
    said = {"_type": statement.STATEMENT_TYPE, "subject": subjects, "predicateType": package_signature.PREDICATE_TYPE}
    envelope = dsse.sign(json.dumps(said | {"predicate": {}}).encode(), statement.PAYLOAD_TYPE, [ED25519])
    assert "not about the package" in refusal(envelope, trusted(ED25519))


def test_another_statement_about_the_package_is_not_its_signature():
    said = statement.about(PACKAGE, "package", "https://slsa.dev/provenance/v1", {})
    envelope = dsse.sign(said, statement.PAYLOAD_TYPE, [ED25519])
    assert "not the signature of a package" in refusal(envelope, trusted(ED25519))


def test_the_statement_signed_as_another_type_is_not_read():
    payload = statement.about(PACKAGE, "package", package_signature.PREDICATE_TYPE, {})
    with pytest.raises(MalformedEnvelope, match="application/json"):
        package_signature.verify(dsse.sign(payload, "application/json", [ED25519]), PACKAGE, trusted(ED25519), NOW)


GOOD = json.loads(dsse.sign(b"abc", "text/plain", [ED25519]))


@pytest.mark.parametrize(
    "found",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        json.dumps(GOOD | {"signatures": []}).encode(),
        json.dumps(GOOD | {"signatures": GOOD["signatures"] * 17}).encode(),
        json.dumps(GOOD | {"payloadType": ""}).encode(),
        json.dumps(GOOD | {"payload": "YW Jj"}).encode(),
        json.dumps(GOOD | {"payload": "YWI"}).encode(),
        json.dumps(GOOD | {"payload": "YWJ="}).encode(),
        json.dumps(GOOD | {"payload": "__8="}).encode(),
        json.dumps(GOOD | {"payload": "ü"}).encode(),
        json.dumps(GOOD | {"signatures": [{"sig": "A" * 2000}]}).encode(),
    ],
    ids=[
        "empty",
        "list",
        "deep",
        "no-signature",
        "too-many-signatures",
        "no-type",
        "space-in-base64",
        "no-padding",
        "spare-bits",
        "url-safe",
        "not-ascii",
        "long-signature",
    ],
)
def test_an_envelope_that_cannot_be_read(found):
    with pytest.raises(MalformedEnvelope):
        dsse.read(found)


def test_an_envelope_over_the_limit():
    with pytest.raises(MalformedEnvelope, match="at most 65,536"):
        package_signature.verify(b" " * 65_537, PACKAGE, Signers(), NOW)


@pytest.mark.parametrize(
    "said",
    [
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"subject": []},
        {"subject": [{"name": "x", "digest": {}}]},
        {"subject": [{"name": "x", "digest": {"sha256": "XY"}}]},
        {"predicateType": ""},
        {"predicate": []},
    ],
    ids=["old-version", "no-subject", "no-digest", "not-hexadecimal", "no-predicate-type", "predicate-not-an-object"],
)
def test_a_statement_that_cannot_be_read(said):
    good = json.loads(statement.about(PACKAGE, "package", "urn:x", {}))
    with pytest.raises(MalformedEnvelope):
        statement.read(json.dumps(good | said).encode())


@given(payload=st.binary(max_size=300), kind=st.text(min_size=1, max_size=40))
def test_what_was_signed_is_read_again(payload, kind):
    envelope = dsse.read(dsse.sign(payload, kind, [ED25519]))
    assert (envelope.payload, envelope.payload_type) == (payload, kind)
    assert trusted(ED25519).verify(envelope, NOW)


@given(st.data())
def test_one_changed_bit_of_payload_or_signature_is_refused(data):
    found = json.loads(package_signature.sign(PACKAGE, {}, [ED25519]))
    holder, key = data.draw(st.sampled_from([(found, "payload"), (found["signatures"][0], "sig")]))
    changed = bytearray(base64.b64decode(holder[key]))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    holder[key] = base64.b64encode(bytes(changed)).decode()
    assert "is wrong" in refusal(json.dumps(found).encode(), trusted(ED25519))


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_read_or_refused(data):
    for reader in (dsse.read, statement.read):
        with pytest.raises(MalformedEnvelope):
            reader(data)


def test_keys_of_other_kinds_sign_nothing():
    from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1

    from enarx_signing import KeyFault

    other = generate_private_key(SECP384R1())
    with pytest.raises(KeyFault, match="signs no packages"):
        SigningKey(other)
    with pytest.raises(KeyFault, match="signs no packages"):
        PublicKey(other.public_key())
