"""What a Keep answers its host while the workload runs."""

from __future__ import annotations

from typing import Final

from enarx_keep.channel import Message, decode, encode, field
from enarx_keep.errors import BadMessage, KeepFault
from enarx_keep.identity import Identity

TAKES: Final = ("look",)
"""What it takes beside a renewal, which each with a certificate does. Its host is told, as an older Keep takes less."""


class Running:
    """A Keep whose workload runs; `identity` is None where it has no certificate."""

    def __init__(self, identity: Identity | None) -> None:
        self._identity = identity

    def answer(self, text: bytes) -> bytes:
        """Answer a message; a fault is told, and is not the Keep's end.

        It is called from within a call of the workload, so it must leave the guest half alone.
        """
        number = 0
        try:
            message = decode(text)
            number = field(message, "id", int)
            answer = self._answer(message)
        except (KeepFault, RuntimeError, OSError) as fault:
            answer = {"type": "refused", "message": str(fault)}
        return encode({**answer, "id": number})

    def _answer(self, message: Message) -> Message:
        match message["type"]:
            case "look":
                return {"type": "alive"}
            case "challenge" if self._identity is not None:
                return self._identity.request(message)
            case "certificate" if self._identity is not None:
                self._identity.install(message)
                return {"type": "installed"}
            case other:
                raise BadMessage(f"this running Keep takes no message {other!r}")
