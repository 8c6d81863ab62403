"""The kit for backends of others, run against kvm: real machines, emulated, so that this runs anywhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests import qemu

from enarx_backends.acceleration import ASKED
from enarx_backends.kvm import Kvm
from enarx_deploy.testing import BackendConformance
from enarx_image import build, pins

pytestmark = pytest.mark.timeout(900)  # whichever test comes first waits for the image


class TestKvm(BackendConformance):
    backend = Kvm()
    patience = 240.0  # emulated, on a machine with much to do

    @pytest.fixture(autouse=True)
    def machine(self, image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """One with QEMU and this version's image."""
        monkeypatch.setenv("PATH", f"{qemu.program().parent}:{os.environ['PATH']}")
        monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path / "cache"))
        monkeypatch.setenv(ASKED, "tcg")
        place = build.place(tmp_path / "cache/image", pins.load())
        place.parent.mkdir(parents=True)
        place.symlink_to(image.folder)
        for folder in ("cache", "cache/image"):
            (tmp_path / folder).chmod(0o700)
