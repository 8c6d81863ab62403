"""A registry, or an issuer of tokens, whose answers do not come to an end."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from tests.dripping import dripping

from enarx_drawbridge import tokens
from enarx_drawbridge.client import http
from enarx_drawbridge.client.connection import Place, connected
from enarx_drawbridge.client.errors import Unreachable
from enarx_drawbridge.client.logins import Logins
from enarx_drawbridge.directory_form import entry_of
from enarx_drawbridge.errors import Unavailable
from enarx_drawbridge.policy import Oidc
from enarx_service import pace


@pytest.mark.parametrize("drips_from", ["head", "body", "framing"])
def test_an_answer_that_comes_a_byte_at_a_time_is_cut_off(monkeypatch, tmp_path, drips_from):
    monkeypatch.setattr(pace, "PATIENCE", 0.2)
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.01)
    with (
        dripping(drips_from) as host,
        connected(Place(host, in_clear=True), Logins(tmp_path)) as connection,
    ):
        with pytest.raises(Unreachable, match="does not answer"):
            connection.get("a/b/_tag/1.0.0")
        with pytest.raises(Unreachable, match="breaks off"):
            list(connection.chunks("a/b/_tag/1.0.0/tree/main.wasm", entry_of(b"1" * 100_000, "a/b")))


KEY = generate_private_key(SECP256R1())
JWK = jwt.PyJWK.from_dict(jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True) | {"kid": "known"})


def token(issuer: str) -> str:
    claims = {"iss": issuer, "aud": "registry", "sub": "user", "iat": 1, "exp": 1 << 40, "scope": ""}
    return jwt.encode(claims, KEY, algorithm="ES256", headers={"kid": "known"})


@pytest.mark.parametrize("drips_from", ["head", "body", "interim"])
def test_an_issuer_that_does_not_come_to_an_end_is_given_up(monkeypatch, drips_from):
    monkeypatch.setattr(tokens, "TIMEOUT", 0.2)
    with dripping(drips_from) as host:
        issuer = f"http://{host}"
        with pytest.raises(Unavailable, match="cannot be asked now"):
            tokens.Tokens(Oidc(issuer=issuer, audience="registry")).identify(token(issuer))


def test_whose_key_is_known_does_not_wait_for_an_issuer_that_another_is_asking(monkeypatch):
    now, asked, answers = [0.0], threading.Event(), threading.Event()
    known = tokens.Tokens(Oidc(issuer="https://issuer.example", audience="registry"), lambda: now[0])

    def fetch() -> dict[str, jwt.PyJWK]:
        if now[0]:
            asked.set()
            assert answers.wait(60)
        return {"known": JWK}

    monkeypatch.setattr(known, "_fetch_keys", fetch)
    shown = token("https://issuer.example")
    assert known.identify(shown).subject == "user"
    now[0] = tokens.KEYS_LAST
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(known.identify, shown)
        assert asked.wait(60)
        assert known.identify(shown).subject == "user"
        assert not slow.done()
        answers.set()
        assert slow.result(60).subject == "user"
