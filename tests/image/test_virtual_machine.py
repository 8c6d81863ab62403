"""Virtual machines that cannot be, or do not live: each a clear error, nothing left running, and no files behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import wasmtime
from tests import qemu as own_qemu

from enarx_backends import acceleration, kvm, looks, own_user, qemu, snp, tdx
from enarx_backends.protected import Protected
from enarx_backends.virtual_machine import Plan, VirtualMachine
from enarx_deploy.errors import KeepError
from enarx_deploy.manifest import parse
from enarx_deploy.models import Package
from enarx_deploy.package_tree import build as build_package
from enarx_deploy.project import Project
from enarx_deploy.protocols import BootsImage, Launch
from enarx_image import build, measurement, pins
from enarx_image.image import Image
from enarx_sallyport import Host

needs_qemu = pytest.mark.usefixtures("qemu_on_path")
pytestmark = pytest.mark.timeout(900)  # the image may have to be made first
PACKAGE = f"sha256:{'ab' * 32}"
SMALL = 192 << 20


@pytest.fixture
def qemu_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is new enough."""
    monkeypatch.setenv("PATH", f"{own_qemu.program().parent}:{os.environ['PATH']}")


@pytest.fixture
def own_image(image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The image of this version in a cache of the test's own, to spoil."""
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv(acceleration.ASKED, "tcg")
    place = build.place(tmp_path / "image", pins.load())
    shutil.copytree(image.folder, place)
    return place


@pytest.fixture
def launch() -> Iterator[Launch]:
    """What a session gives a backend."""
    host = Host(files=0, connections=0, ring_bytes=4096)
    with Path(os.devnull).open("wb") as nowhere:
        yield Launch(
            block_fd=host.block_fd,
            doorbell_fd=host.doorbell_fd,
            stderr_fd=nowhere.fileno(),
            package_digest=PACKAGE,
            module_sha256="",
        )


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No descriptor and no child is there afterwards that was not there before."""
    others = set(_children())
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert set(_children()) <= others
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def _children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def _boot(image: Image, initrd: bytes) -> qemu.Boot:
    kernel = qemu.sealed(image.kernel.read_bytes(), "kernel")
    return qemu.Boot(kernel, qemu.sealed(initrd, "initrd"), image.cmdline)


def _close(boot: qemu.Boot) -> None:
    os.close(boot.kernel)
    os.close(boot.initrd)


@needs_qemu
def test_a_guest_whose_kernel_panics_has_ended_and_its_end_says_so(image: Image) -> None:
    """Its initramfs holds no program."""
    boot = _boot(image, b"")
    plan = Plan(qemu.find(), acceleration.guest("tcg"), qemu.Accelerator("tcg"), boot, SMALL)
    with Path(os.devnull).open("wb") as nowhere:
        machine = VirtualMachine(plan, nowhere.fileno(), image.digest)
        try:
            assert machine.wait(240) == 0
        finally:
            machine.kill()
            _close(boot)
    assert "the guest's kernel gave up" in machine.explanation()


def test_what_is_no_event_of_the_monitor_ends_no_watch() -> None:
    machine = object.__new__(VirtualMachine)
    machine._monitored, machine._ended_by = bytearray(), ""
    machine._take_event(b'[]\n7\n"STOP"\n{"event": []}\n' + b"[" * 50_000 + b"\n")
    machine._take_event(b'{"event": "SHUTDOWN", "data": {"reason": "guest-reset"}}\n')
    assert machine._ended_by == "guest-reset"


@needs_qemu
def test_a_machine_that_qemu_cannot_make_says_what_qemu_said(image: Image) -> None:
    boot = _boot(image, b"")
    guest = acceleration.guest("tcg")._replace(cpu="of-no-make")
    plan = Plan(qemu.find(), guest, qemu.Accelerator("tcg"), boot, SMALL)
    with Path(os.devnull).open("wb") as nowhere:
        machine = VirtualMachine(plan, nowhere.fileno())
        assert machine.wait(60) == 1
    _close(boot)
    assert "QEMU ended with status 1" in machine.explanation()
    assert "of-no-make" in machine.explanation()


@needs_qemu
@pytest.mark.parametrize("part", ["kernel", "initrd", "cmdline"])
def test_an_image_with_one_byte_changed_boots_nothing(part: str, own_image: Path, launch: Launch) -> None:
    changed = bytearray((own_image / part).read_bytes())
    changed[len(changed) // 2] ^= 1
    (own_image / part).write_bytes(changed)
    with pytest.raises(KeepError, match=part) as refused:
        kvm.Kvm().start(launch)
    assert refused.value.hint


@needs_qemu
def test_an_image_that_was_cut_short_is_told_by_the_probe(own_image: Path) -> None:
    with (own_image / "initrd").open("r+b") as file:
        file.truncate(1000)
    (check,) = [check for check in kvm.Kvm().probe().checks if check.name == "image"]
    assert not check.ok
    assert "has 1,000 bytes, and" in check.detail


@needs_qemu
def test_a_start_reads_and_hashes_the_image_once(
    own_image: Path, image: Image, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the moment when there is something to boot."""
    hashed = []
    sha256 = measurement.sha256
    monkeypatch.setattr(measurement, "sha256", lambda content: hashed.append(len(content)) or sha256(content))
    monkeypatch.setenv(acceleration.ASKED, "neither")
    kvm.Kvm().probe()
    with pytest.raises(KeepError, match="neither"):
        kvm.Kvm().start(launch)
    assert sorted(size for size in hashed if size > 1 << 20) == sorted(
        part.size for part in (image.record.kernel, image.record.initrd)
    )


@pytest.mark.parametrize("backend", [kvm.Kvm(), snp.Snp(), tdx.Tdx()], ids=lambda one: one.name)
def test_an_image_that_is_named_is_booted_in_place_of_this_versions(
    backend: BootsImage, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path))
    with pytest.raises(KeepError, match="there is no image for this version yet"):
        backend.image_digest()
    named = backend.booting(image.folder)
    assert named.image_digest() == image.digest
    assert (named.name, type(named)) == (backend.name, type(backend))


def test_what_is_measured_is_what_boots_with_the_code_that_is_handed_over(
    own_image: Path, image: Image, tmp_path: Path
) -> None:
    """The code is made of the module of the package, the same each time, and stands on the command line."""
    wasm = wasmtime.wat2wasm('(module (memory (export "memory") 1) (func (export "_start")))')
    project = tmp_path / "project"
    project.mkdir()
    manifest = b'[[files]]\nkind = "null"\n'
    package = build_package(Project(project, parse(manifest, "Enarx.toml").manifest, None, manifest), bytes(wasm))
    values = kvm.Kvm().measure(package).measurements
    (code,) = [path.read_bytes() for path in (tmp_path / "guest-modules").glob("*/*.cwasm")]
    assert values["code"] == measurement.sha256(code)
    assert values["image as built"] == image.digest
    cmdline = f"{image.cmdline} keep.code={values['code']}"
    assert values["cmdline"] == measurement.sha256(cmdline.encode())
    parts = (image.record.kernel.sha256, image.record.initrd.sha256, values["cmdline"])
    assert values["image"] == measurement.image_digest(*parts)
    shutil.rmtree(tmp_path / "guest-modules")
    assert kvm.Kvm().measure(package).measurements == values


@needs_qemu
def test_an_image_whose_record_has_another_digest_boots_nothing(own_image: Path, launch: Launch) -> None:
    record = msgspec.json.decode((own_image / "image.json").read_bytes())
    record["digest"] = PACKAGE
    (own_image / "image.json").write_bytes(msgspec.json.encode(record))
    with pytest.raises(KeepError, match="digest"):
        kvm.Kvm().start(launch)


def test_without_an_image_it_says_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path))
    (check,) = [check for check in kvm.Kvm().probe().checks if check.name == "image"]
    assert (check.ok, check.hint) == (False, "make it: `enarx-deploy image build`")


def test_a_qemu_that_loses_guests_is_refused_by_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / qemu.PROGRAM
    old.write_text("#!/bin/sh\necho 'QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(KeepError, match=r"7\.2\.22, which is too old") as refused:
        qemu.find()
    assert "backports" in refused.value.hint


@pytest.mark.parametrize(
    ("backend", "version", "wanted"), [(snp.Snp, "9.0.4", "9.1"), (tdx.Tdx, "10.0.2", "10.1")], ids=["snp", "tdx"]
)
def test_a_qemu_without_the_backends_object_is_refused_by_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: type[Protected], version: str, wanted: str
) -> None:
    program = tmp_path / qemu.PROGRAM
    program.write_text(f"#!/bin/sh\necho QEMU emulator version {version}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(looks, "for_backend", lambda *_: [])
    (check,) = [check for check in backend().probe().checks if check.name == "QEMU"]
    assert not check.ok
    assert f"is version {version}, which is too old: {wanted} is needed" in check.detail
    assert f"install QEMU {wanted} or later" in check.hint


def test_reference_values_are_of_the_image_and_the_package(own_image: Path, image: Image) -> None:
    package = Package(digest=PACKAGE, root="", files=[], size=0)
    values = kvm.Kvm().measure(package)
    assert values.measurements["image"] == image.digest
    assert values.policy == {"kvm": {"packages": [PACKAGE], "images": [image.digest]}}
    assert not values.hardware


@needs_qemu
def test_a_device_that_cannot_be_opened_has_the_guest_emulated(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tmp_path / "kvm"
    device.touch(mode=0o600)
    monkeypatch.setattr(acceleration, "DEVICE", device)
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path))
    boot = _boot(image, b"")
    with _Somebody():
        chosen = acceleration.choose(qemu.find(), boot, image.digest, SMALL)
    _close(boot)
    assert chosen.accelerator.name == "tcg"
    assert "Permission denied" in chosen.reason


@needs_qemu
@pytest.mark.parametrize(
    ("asked", "device", "told", "available"),
    [
        ("", "/nowhere/kvm", "/nowhere/kvm is not here; it is emulated (TCG)", True),
        ("tcg", "/dev/null", "ENARX_DEPLOY_ACCELERATOR asks for it; it is emulated (TCG)", True),
        ("kvm", "/nowhere/kvm", "/nowhere/kvm is not here", False),
        ("hvf", "/dev/null", "ENARX_DEPLOY_ACCELERATOR is 'hvf'", False),
    ],
)
def test_the_probe_says_what_a_keep_would_run_on_and_what_to_do(
    own_image: Path, monkeypatch: pytest.MonkeyPatch, asked: str, device: str, told: str, available: bool
) -> None:
    monkeypatch.setattr(acceleration, "DEVICE", Path(device))
    monkeypatch.setenv(acceleration.ASKED, asked)
    probe = kvm.Kvm(own_image).probe()
    (check,) = [check for check in probe.checks if check.name == "kvm"]
    assert (check.ok, probe.available) == (False, available)
    assert check.detail.startswith(told)
    assert check.hint


@needs_qemu
def test_a_device_with_which_no_guest_boots_is_tried_once_and_said(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It opens, as a device does that is no good."""
    monkeypatch.setattr(acceleration, "DEVICE", Path("/dev/null"))
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path))
    boot = _boot(image, b"")
    try:
        first = acceleration.choose(qemu.find(), boot, image.digest, SMALL)
        assert first.accelerator.name == "tcg"
        assert "KVM cannot be used" in first.reason
        monkeypatch.setattr(acceleration, "VirtualMachine", None)  # so that another boot would be a fault
        assert acceleration.choose(qemu.find(), boot, image.digest, SMALL) == first
        monkeypatch.setenv(acceleration.ASKED, "kvm")
        with pytest.raises(KeepError, match="KVM cannot be used"):
            acceleration.choose(qemu.find(), boot, image.digest, SMALL)
    finally:
        _close(boot)


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        pytest.param({}, True, id="of-just-now"),
        pytest.param({"at": time.time() - 2 * acceleration.A_NO_COUNTS}, False, id="of-two-days-ago"),
        pytest.param({"at": time.time() + 3600}, False, id="of-a-clock-that-went-wrong"),
        pytest.param({"during": "before the machine was started anew"}, False, id="of-an-earlier-start"),
        pytest.param({"during": "an earlier start", "at": 0.0, "usable": True}, True, id="a-yes-of-whenever"),
    ],
)
def test_a_kvm_that_failed_is_tried_again_in_a_day_or_after_the_next_start(
    change: dict[str, object], counts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path))
    program = qemu.Qemu("/usr/bin/qemu", "10.0")
    acceleration._keep(acceleration._place(program, PACKAGE), acceleration.Trial(usable=False, detail="no good"))
    (place,) = (tmp_path / "kvm").iterdir()
    place.write_bytes(msgspec.json.encode(msgspec.json.decode(place.read_bytes()) | change))
    assert (acceleration.known(program, PACKAGE) is not None) is counts


@needs_qemu
def test_what_was_tried_is_tried_again_at_once_when_a_user_says_so(
    own_image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`platform kvm --retry`."""
    monkeypatch.setattr(acceleration, "DEVICE", Path("/dev/null"))
    monkeypatch.delenv(acceleration.ASKED)
    place = acceleration._place(qemu.find(), kvm.Kvm().image_digest())
    acceleration._keep(place, acceleration.Trial(usable=True, detail="once upon a time"))
    assert [check.detail for check in kvm.Kvm().probe().checks if check.name == "kvm"] == ["once upon a time"]
    kvm.Kvm().try_again()
    (check,) = [check for check in kvm.Kvm().probe().checks if check.name == "kvm"]
    assert not check.ok
    assert "a guest was booted with it, and" in check.detail
    assert "--retry" in check.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts programs as others")
def test_each_qemu_that_root_starts_has_a_user_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lent = tmp_path / "subuid"
    lent.write_text(f"somebody:{own_user.NUMBERS.start}:{len(own_user.NUMBERS) - 3}\n# no line\n")
    monkeypatch.setattr(own_user, "_LENT", (lent, tmp_path / "absent"))
    (tmp_path / f"{own_user.NUMBERS[-3]}").touch()
    monkeypatch.setattr(own_user, "_OF_SERVICES", tmp_path)
    taken = [own_user.claim() for _ in range(2)]
    try:
        assert {user.number for user in taken} == set(own_user.NUMBERS[-2:])
        with pytest.raises(KeepError, match="is free for QEMU"):
            own_user.claim()
        taken[0].give_back()
        taken.append(own_user.claim())
        assert taken[2].number == taken[0].number
    finally:
        for user in taken:
            user.give_back()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_full_dev_shm_is_no_hindrance() -> None:
    """Blocks and images are in memory without a name, for which no file system has to have room."""
    script = """
        import os
        from enarx_backends import qemu
        from enarx_sallyport import Host
        with open("/dev/shm/filler", "wb", buffering=0) as filler:
            try:
                while filler.write(bytes(4096)):
                    pass
            except OSError:
                pass
        Host(files=1, connections=1000, ring_bytes=65536)
        print(os.fstat(qemu.sealed(bytes(30 << 20), "initrd")).st_size, os.statvfs("/dev/shm").f_bavail)
    """
    command = f"mount -t tmpfs -o size=64k none /dev/shm && exec {sys.executable} -c '{textwrap.dedent(script)}'"
    done = subprocess.run(["unshare", "-m", "sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(30 << 20), "0"], done.stderr


class _Somebody:
    """As a user without rights, where root runs the tests."""

    def __enter__(self) -> None:
        if os.getuid() == 0:
            os.seteuid(65534)

    def __exit__(self, *_: object) -> None:
        if os.getuid() == 0:
            os.seteuid(0)
