"""The sallyport of a machine over vsock, as far as a host without it goes: no guest has been reached by it yet."""

from __future__ import annotations

import lzma
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import qemu as own_qemu
from tests.image.booting import booted_with

from enarx_backends import acceleration, qemu, vsock
from enarx_deploy.errors import KeepError
from enarx_image import cpio, deb
from enarx_image.contents import contents
from enarx_image.image import Image
from enarx_keep import machine

pytestmark = pytest.mark.timeout(900)  # the image may have to be made first


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Of TCP, whose addresses of this machine stand in the place of machines' numbers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def connected(listener: socket.socket, source: str) -> socket.socket:
    return socket.create_connection(listener.getsockname(), source_address=(source, 0))


def test_only_the_machine_itself_is_taken_and_others_are_turned_away(listener: socket.socket) -> None:
    line = vsock.Line(listener, "127.0.0.9", -1)  # type: ignore[arg-type]
    with connected(listener, "127.0.0.8") as stranger, connected(listener, "127.0.0.9") as guest:
        with line.accept(lambda: False) as taken:
            guest.sendall(b"frames")
            assert taken.recv(6) == b"frames"
        assert stranger.recv(1) == b""


def test_a_machine_that_ends_before_it_connects_is_told(listener: socket.socket) -> None:
    ended = iter((False, True))
    with pytest.raises(KeepError, match="has ended before it connected"):
        vsock.Line(listener, 3, -1).accept(lambda: next(ended))


def test_the_machine_has_a_socket_in_the_place_of_the_port_and_still_a_log(listener: socket.socket) -> None:
    boot = qemu.Boot(3, 4, "quiet")
    line = vsock.Line(listener, 70_000, 9)
    words = qemu.words(acceleration.guest("tcg"), qemu.Accelerator("tcg"), boot, qemu.Channels(5, 6, 7), 1 << 28, line)
    assert "vhost-vsock-pci,guest-cid=70000,vhostfd=9" in words
    assert [word for word in words if "virtserialport" in word] == [
        f"virtserialport,id=log,chardev=log,name={qemu.LOG}"
    ]


def test_qemu_knows_the_device_by_these_properties() -> None:
    command = [str(own_qemu.program()), "-device", "vhost-vsock-pci,help"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    assert "guest-cid=<uint64>" in said
    assert "vhostfd=<str>" in said


@pytest.mark.parametrize(
    ("asked", "told", "hint"),
    [
        pytest.param("vsock", "vhost-vsock: No such file", "modprobe vhost_vsock", id="no-device"),
        pytest.param("ivshmem", "'ivshmem'", "it is vsock or virtio-serial", id="no-channel"),
    ],
)
def test_where_it_cannot_be_nothing_else_is_taken_in_its_place(
    asked: str, told: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vsock, "DEVICE", tmp_path / "vhost-vsock")
    monkeypatch.setenv(vsock.ASKED, asked)
    with pytest.raises(KeepError, match=told) as refused:
        vsock.line()
    assert hint in refused.value.hint


@pytest.mark.parametrize("asked", [None, "virtio-serial"])
def test_it_is_used_only_where_it_is_asked_for(asked: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(vsock.ASKED, raising=False)
    if asked:
        monkeypatch.setenv(vsock.ASKED, asked)
    assert vsock.line() is None


def test_the_machine_sees_by_its_devices_that_it_is_reached_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_VIRTIO", tmp_path)
    assert not machine._has_vsock()
    for name, kind in (("virtio0", "0x0003"), ("virtio1", "0x0013")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "device").write_text(f"{kind}\n")
    assert machine._has_vsock()


def test_its_modules_are_in_the_image_and_loaded_by_that_machine_alone(image) -> None:
    paths = {file.path for file in image.record.files}
    assert {f"usr/lib/modules/{name}.ko" for name in contents().kernel.vsock} <= paths
    assert "usr/lib/modules/vsock" in paths
    assert not set(contents().kernel.vsock) & set(contents().kernel.modules)


def test_frames_pass_over_a_vsock_of_the_images_own_kernel(
    image: Image, debs: dict[str, bytes], tmp_path: Path
) -> None:
    """Over its loopback, for which a second archive brings the module: the nearest to a host's that runs anywhere."""
    (kernel,) = image.record.pins.of("kernel")
    (loopback,) = deb.members(debs[kernel.name], kernel.name, lambda path: path.endswith("/vsock_loopback.ko.xz"))
    added = [
        cpio.file("init", (Path(__file__).parent / "vsock_probe.py").read_bytes(), "", executable=True),
        cpio.file("usr/lib/modules/vsock_loopback.ko", lzma.decompress(loopback.content), ""),
    ]
    assert booted_with(image, added, tmp_path).log == "carried"


@pytest.mark.skipif(not os.access(vsock.DEVICE, os.R_OK | os.W_OK), reason="this host has no vsock for guests")
def test_a_host_that_has_it_gives_out_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(vsock.ASKED, "vsock")
    line = vsock.line()
    assert line is not None
    assert line.number >= 1 << 16
    line.close()
