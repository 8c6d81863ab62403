"""What can go wrong in a Keep before its workload runs. Each is told to the host in one line, and the Keep ends."""

from __future__ import annotations


class KeepFault(Exception):
    """Head of the tree."""


class LimitMet(KeepFault):
    """The workload met a limit of its manifest that it cannot go on behind."""


class BadMessage(KeepFault):
    """The host sent something that is not of the protocol."""


class BadPackage(KeepFault):
    """The package is not the one that was named, or breaks a rule."""


class RegistryFault(KeepFault):
    """The registry does not give the package, or does not answer as one."""


class BadManifest(KeepFault):
    """The package's Enarx.toml asks for something that a Keep does not know."""


class SecretsRefused(KeepFault):
    """The Steward does not release the secrets that the manifest names, or it is not the Steward that answers."""


class NoEvidence(KeepFault):
    """The platform gives no evidence, or not the kind that was asked for. `hint` says what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message} ({hint})" if hint else message)
        self.hint = hint
