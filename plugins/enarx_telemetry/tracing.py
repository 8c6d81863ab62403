"""Surrounds the stages with spans where `ENARX_DEPLOY_TRACES` asks for it; else it has no hooks at all."""

from __future__ import annotations

import os

from enarx_telemetry import ASKED

if os.environ.get(ASKED, "") not in ("", "0", "none"):
    from enarx_telemetry.stages import attest, compile, deploy, package, provision_tls

    __all__ = ["attest", "compile", "deploy", "package", "provision_tls"]
