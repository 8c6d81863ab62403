"""Least privilege: what a manifest grants, held against what the module can use.

`needs` reads a module, `findings` holds a manifest against it, `rewritten` makes the changes that a program can make.
A module's imports say what it can do at most, and its data which names it has as constants. What it computes while it
runs (descriptors, names put together of parts) is not known before, and is said to be so instead of guessed.
"""

from __future__ import annotations

from enarx_deploy.lint.findings import Finding
from enarx_deploy.lint.needs import Needs, needs
from enarx_deploy.lint.rewrite import rewritten
from enarx_deploy.lint.rules import UNKNOWN, findings

__all__ = ["UNKNOWN", "Finding", "Needs", "findings", "needs", "rewritten"]
