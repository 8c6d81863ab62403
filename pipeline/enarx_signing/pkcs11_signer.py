"""`python -m enarx_signing.pkcs11_signer`: one order from the standard input, one answer to the standard output.

The only place that loads a vendor's PKCS#11 library. See `token`, which starts it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    import pkcs11

MAX_ORDER: Final = 65_536
_FAULTS: Final = {
    "NoSuchToken": ("there is no token of this label", "is the device there, and is this its label?"),
    "NoSuchKey": ("there is no key of this label in the token", "is this its label, and may you see it?"),
    "MultipleObjectsReturned": (
        "there is more than one key of this label",
        "give each a label of its own",
    ),
    "MultipleTokensReturned": ("there is more than one token of this label", "give each a label of its own"),
    "PinIncorrect": (
        "the token does not take the PIN",
        "it may lock itself after a few wrong ones",
    ),
    "PinLocked": ("the token has locked its PIN", "its security officer can unlock it"),
    "DeviceRemoved": ("the device was taken away", "put it back and try again"),
}


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to do: sign `digest`, if there is one. `pin` is a secret.

    `make` makes the key where there is none, and `anew` refuses one that is there.
    """

    module: str
    token: str
    key: str
    pin: str
    digest: bytes
    make: bool
    anew: bool = False


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The public key (DER), and the signature as the token gave it; or a fault."""

    spki: bytes = b""
    signature: bytes = b""
    fault: str = ""
    hint: str = ""


class _Unfit(Exception):
    """The key may not be used; `hint` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def main() -> int:
    """Carry out one order."""
    order = msgspec.json.decode(sys.stdin.buffer.read(MAX_ORDER), type=Order)
    sys.stdout.buffer.write(msgspec.json.encode(_answer(order)))
    return 0


def _answer(order: Order) -> Answer:
    try:
        import pkcs11
    except ImportError:
        return Answer(fault="python-pkcs11 is not installed", hint="pip install 'enarx-deploy[pkcs11]'")
    try:
        with (
            pkcs11.lib(order.module)
            .get_token(token_label=order.token)
            .open(rw=order.make, user_pin=order.pin) as session
        ):
            return _carry_out(session, order)
    except _Unfit as exc:
        return Answer(fault=str(exc), hint=exc.hint)
    except (pkcs11.PKCS11Error, OSError, RuntimeError) as exc:
        if not Path(order.module).is_file():
            return Answer(fault="there is no such library", hint="the vendor's documentation says where it is")
        name = type(exc).__name__
        fault, hint = _FAULTS.get(name, (f"{name} {exc}".strip(), "see the documentation of the device"))
        return Answer(fault=fault, hint=hint)


def _carry_out(session: pkcs11.Session, order: Order) -> Answer:
    from pkcs11 import Attribute, Mechanism, NoSuchKey, ObjectClass
    from pkcs11.util.ec import encode_ec_public_key

    # Any: what a key can do depends on the device, and the library's types do not say it.
    private: Any
    try:
        private = session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=order.key)
    except NoSuchKey:
        if not order.make:
            raise
        _make(session, order.key)
        private = session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=order.key)
    else:
        if order.anew:
            raise _Unfit(f"the token has a key {order.key!r} already", "give the new one a name that no key has yet")
    if private[Attribute.EXTRACTABLE] or not private[Attribute.SENSITIVE]:
        raise _Unfit(
            f"the key {order.key!r} could be taken out of the token",
            "make another in the token, with CKA_SENSITIVE and not CKA_EXTRACTABLE",
        )
    public: Any = session.get_key(object_class=ObjectClass.PUBLIC_KEY, label=order.key)
    signature = private.sign(order.digest, mechanism=Mechanism.ECDSA) if order.digest else b""
    return Answer(spki=encode_ec_public_key(public), signature=signature)


def _make(session: pkcs11.Session, label: str) -> None:
    from pkcs11 import Attribute, KeyType
    from pkcs11.util.ec import encode_named_curve_parameters

    curve = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
    parameters = session.create_domain_parameters(KeyType.EC, curve, local=True)
    parameters.generate_keypair(
        store=True,
        label=label,
        private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True},
    )


if __name__ == "__main__":
    sys.exit(main())
