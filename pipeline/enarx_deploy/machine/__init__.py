"""What a machine offers for Keeps: looked at, never changed, below a root that a test can lay out.

`checks.for_backend` has the checks of each kind of Keep, for a backend's `probe` to use.
"""

from __future__ import annotations

from enarx_deploy.machine.checks import KINDS, for_backend, guest
from enarx_deploy.machine.cpu import Cpu
from enarx_deploy.machine.tree import Machine

__all__ = ["KINDS", "Cpu", "Machine", "for_backend", "guest"]
