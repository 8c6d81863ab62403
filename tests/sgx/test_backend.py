"""The sgx backend with a stand-in for Gramine: real Keep processes, over the real channel."""

from __future__ import annotations

import pytest

from enarx_backends.sgx import Sgx
from enarx_deploy.testing import BackendConformance


class TestSgx(BackendConformance):
    """On this machine, which most likely has no SGX."""

    backend = Sgx()


class TestWithStandIn(BackendConformance):
    """On one that has it, as far as files and a process go."""

    @pytest.fixture(autouse=True)
    def machine(self, backend, quoting) -> None:
        type(self).backend = backend
