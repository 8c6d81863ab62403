"""Makes an account with an ACME server, or takes up the one that a key has there (RFC 8555, section 7.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from acme import errors, messages
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from enarx_acme.client import as_jwk, connect, printable
from enarx_deploy.errors import UsageError

if TYPE_CHECKING:
    from acme.client import ClientV2


class Binding(NamedTuple):
    """An external account binding (RFC 8555, section 7.3.4): what the authority gave its customer."""

    kid: str
    hmac_key: str


def new_key() -> str:
    """A key on P-256 (PEM)."""
    key = generate_private_key(SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def terms_of(directory: str, key_pem: str, server_root_pem: str) -> str:
    """The URL of what the server asks its users to agree to, or "". Raises StewardError."""
    with connect(directory, key_pem, server_root_pem) as client:
        url = client.directory.meta.terms_of_service
    return printable(str(url or ""))


def register(directory: str, key_pem: str, server_root_pem: str, contact: str, binding: Binding | None) -> str:
    """The URL of the account. The user has agreed to the terms. Raises StewardError, UsageError."""
    with connect(directory, key_pem, server_root_pem) as client:
        if client.external_account_required() and binding is None:
            raise UsageError(
                f"{directory} makes accounts for its customers only",
                hint="give --eab-kid and --eab-key-file, which it gave you",
            )
        bound = None
        if binding is not None:
            public = as_jwk(key_pem).public_key()
            bound = messages.ExternalAccountBinding.from_data(public, binding.kid, binding.hmac_key, client.directory)
        wanted = messages.NewRegistration.from_data(
            email=contact or None, terms_of_service_agreed=True, external_account_binding=bound
        )
        url = _account(client, wanted)
    return str(url)


def _account(client: ClientV2, wanted: messages.NewRegistration) -> object:
    """The account's URL, also where the key has one already."""
    try:
        return client.new_account(wanted).uri
    except errors.ConflictError as error:
        return error.location
