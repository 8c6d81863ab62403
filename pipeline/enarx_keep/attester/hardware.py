"""Keeps that hardware protects, and where each looks for its evidence; see `choice`."""

from __future__ import annotations

from enarx_keep.attester.choice import Place
from enarx_keep.attester.configfs_tsm import ConfigfsTsm
from enarx_keep.attester.gramine import Gramine
from enarx_keep.attester.sev_guest import SevGuest
from enarx_keep.attester.tdx_guest import TdxGuest
from enarx_keep.attester.unprotected import Kvm

VIRTUAL_MACHINE = Place((ConfigfsTsm, SevGuest, TdxGuest), Kvm)
ENCLAVE = Place((Gramine,), None, has_signals=False)
GUEST = Place(VIRTUAL_MACHINE.hardware, None)
"""A guest in which Keeps are processes: for the program that starts them, see `in_guest`."""
