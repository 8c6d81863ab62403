"""One order of RFC 8555, section 7.1.3: names, control of them, a certificate, and the chain that leads to a root."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from acme import challenges, messages
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from enarx_acme import control
from enarx_acme.client import connect, printable
from enarx_deploy.errors import StewardError

if TYPE_CHECKING:
    from acme.client import ClientV2

    from enarx_acme.accounts import Account

_PATIENCE: Final = timedelta(seconds=60)
"""For validation and issuance together, from when control is shown. With what the answers themselves may take, whoever
waits for a Keep's renewal waits for two minutes at most, and as long as the user's own command takes."""
_MOST_CERTIFICATES: Final = 8
_Chain = list[x509.Certificate]


def order(account: Account, csr: bytes, names: Sequence[str]) -> tuple[bytes, ...]:
    """A certificate chain (DER, leaf first, root last) for a request (DER) with these names. Raises StewardError.

    1. A new order for the names. 2. Each authorization that is not valid yet: the challenge of the account's kind is
    made ready and answered. 3. Polling, until all are valid. 4. Finalization with the request. 5. Of the chains that
    the server offers, the first that leads to the account's root.
    """
    request = x509.load_der_x509_csr(csr)
    with connect(account.directory, account.key_pem, account.server_root_pem, account.url) as client:
        ordered = client.new_order(request.public_bytes(Encoding.PEM))
        if len(ordered.authorizations) > len(names):
            raise StewardError(f"{account.directory} asks for more than control of the names", hint="order elsewhere")
        pending = [_challenge(account, one) for one in ordered.authorizations if _is_open(one)]
        with _shown(account, client, pending):
            deadline = datetime.now() + _PATIENCE
            for challenge, _ in pending:
                client.answer_challenge(challenge, challenge.response(client.net.key))
            client.poll_authorizations(ordered, deadline)
        done = client.finalize_order(ordered, deadline, fetch_alternative_chains=True)
    chains = [_read(pem) for pem in (done.fullchain_pem, *done.alternative_fullchains_pem)]
    return tuple(one.public_bytes(Encoding.DER) for one in _leading_to(account, chains))


def _is_open(authorization: messages.AuthorizationResource) -> bool:
    """Whether control is still to be shown: the server remembers for some time."""
    return bool(authorization.body.status != messages.STATUS_VALID)


def _challenge(account: Account, one: messages.AuthorizationResource) -> tuple[messages.ChallengeBody, str]:
    """The challenge of the account's kind, and the name that it is about."""
    name = str(one.body.identifier.value)
    offered = {challenge.chall.typ: challenge for challenge in one.body.challenges}
    if account.challenge not in offered:
        raise StewardError(
            f"{account.directory} does not take {account.challenge} for {printable(name)}, "
            f"but {printable(', '.join(map(str, offered)))}",
            hint="register again, with another of --http-01 and --dns-01",
        )
    return offered[account.challenge], name


@contextlib.contextmanager
def _shown(account: Account, client: ClientV2, pending: Sequence[tuple[messages.ChallengeBody, str]]) -> Iterator[None]:
    """Everything that answers the challenges, as long as the context lasts."""
    if not pending:
        yield
        return
    key = client.net.key
    if account.challenge == "http-01":
        answers = {
            challenge.chall.encode("token"): challenge.chall.validation(key)
            for challenge, _ in pending
            if isinstance(challenge.chall, challenges.HTTP01)
        }
        with control.by_http(account.listen, answers):
            yield
    else:
        records = [
            (challenge.chall.validation_domain_name(name), challenge.chall.validation(key))
            for challenge, name in pending
            if isinstance(challenge.chall, challenges.DNS01)
        ]
        with control.by_dns(account.hook, records):
            yield


def _read(pem: str) -> _Chain:
    try:
        chain = x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise StewardError(
            "the ACME server sent a certificate that cannot be read", hint="ask whoever runs it"
        ) from error
    if len(chain) > _MOST_CERTIFICATES:
        raise StewardError(f"the ACME server sent {len(chain)} certificates", hint="ask whoever runs it")
    return chain


def _leading_to(account: Account, chains: Sequence[_Chain]) -> _Chain:
    """The first of these chains that leads to the root, with the root at its end. Raises StewardError.

    That each certificate is issued by the next is checked with the whole chain, by whoever takes it.
    """
    root = x509.load_pem_x509_certificate(account.root_pem.encode())
    for chain in chains:
        if chain[-1] == root:
            return chain
        if chain[-1].issuer == root.subject:
            return [*chain, root]
    others = ", ".join(sorted({printable(chain[-1].issuer.rfc4514_string()) for chain in chains}))
    raise StewardError(
        f"the certificate leads to {others}, and not to {root.subject.rfc4514_string()}",
        hint="register again with --root, if that is one that your clients trust",
    )
