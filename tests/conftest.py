"""Fixtures for every room: the program as a process of its own, plugins as installed ones, the built wheel."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tests.works_with import pytest_runtest_makereport, works_with  # noqa: F401 - a hook and a fixture for all tests

from enarx_deploy import paths

# How fast examples come says how busy the machine is, and nothing about the code. They are the same each time, so that
# no change is refused for what chance finds in another. `pytest --hypothesis-profile anew` draws others.
settings.register_profile("anew", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("here", settings.get_profile("anew"), derandomize=True)
settings.load_profile("here")

# A shell that starts a command in the background has it ignore interrupts, and all that it starts, too.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent
_KEPT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TMPDIR", "CARGO_HOME", "RUSTUP_HOME")

SHELF_MANIFEST = """\
[[files]]
kind = "stdout"

[[files]]
kind = "listen"
name = "web"
prot = "tls"
port = 4433

[attest]
issuer = "shelf"

[deploy.default]
target = "shelf"
backend = "shelf"
name = "oak-shelf"
"""


@dataclass
class Program:
    """`enarx-deploy` with a home of its own, so that a test sees nothing of the user's and leaves nothing there."""

    directory: Path
    environment: dict[str, str]
    paths: list[Path] = field(default_factory=list)  # where installed plugins are found
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def __call__(
        self, *words: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, timeout: float = 400
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; nothing is checked."""
        process = self.start(*words, env=env, cwd=cwd)
        out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def start(
        self, *words: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.Popen[str]:
        """Start, with pipes for its output."""
        process = subprocess.Popen(
            [sys.executable, "-m", "enarx_deploy", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="surrogateescape",
            cwd=cwd or self.directory,
            env=self._environment() | dict(env or {}),
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """End what is still running, also in the background."""
        for process in self.started:
            process.kill()
            process.communicate()
        state = Path(self.environment["ENARX_DEPLOY_STATE_DIR"])
        if (state / "keeps").is_dir():
            self("stop", "--all", "--grace", "0")
        if (state / "steward").is_dir():
            self("steward", "--stop")

    def _environment(self) -> dict[str, str]:
        known = [str(path) for path in self.paths] + self.environment.get("PYTHONPATH", "").split(os.pathsep)
        return self.environment | {"PYTHONPATH": os.pathsep.join(path for path in known if path)}


def _program_in(folder: Path) -> Program:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    home = folder / "home"
    home.mkdir()
    directory = folder / "work"
    directory.mkdir()
    places = {
        "HOME": str(home),
        "ENARX_DEPLOY_STATE_DIR": str(home / "state"),
        "ENARX_DEPLOY_CACHE_DIR": str(home / "cache"),
        "PYTHONWARNINGS": "error",
    }
    return Program(directory, kept | places)


LONGEST = (
    "tests/test_packaging.py",
    "tests/fuzz/test_targets.py",
    "tests/end_to_end/test_ssh.py",
    "tests/faults/test_crashes.py",
    "tests/steward/test_issuance_log.py",
    "tests/project_templates/test_in_a_keep.py",
    "tests/faults/test_planned.py",
    "tests/end_to_end/test_host_failures.py",
    "tests/backends/test_conformance.py",
    "tests/end_to_end/test_kvm.py",
    "tests/faults/test_health.py",
    "tests/faults/test_killed_changes.py",
    "tests/project_templates/test_from_the_wheel.py",
    "tests/faults/test_certificates.py",
    "tests/end_to_end/test_tls_clients.py",
    "tests/steward/test_process.py",
    "tests/attest_first/test_up.py",
)
"""Begun first, that of several processes none is left alone with one of them at the end. The first makes the wheel."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {ROOT / file: number for number, file in enumerate(LONGEST)}
    assert all(file.exists() for file in place), "LONGEST names a file that is not there"
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.fixture
def enarx_deploy(tmp_path: Path) -> Iterator[Program]:
    """The program, in an empty directory; its Keeps and its Steward end with the test."""
    program = _program_in(tmp_path)
    yield program
    program.end()


@pytest.fixture(scope="module")
def module_enarx_deploy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The program, in a directory that the tests of one module share; its Keeps and its Steward end with them."""
    program = _program_in(tmp_path_factory.mktemp("shared"))
    yield program
    program.end()


@pytest.fixture
def install_plugin(enarx_deploy: Program, tmp_path: Path) -> Callable[..., Path]:
    """Install a plugin of one module: the metadata that an installer leaves, and the module beside it."""

    def install(name: str, source: str, *, module: str = "", distribution: str = "", version: str = "1.0") -> Path:
        module = module or f"plugin_{name.replace('-', '_')}"
        distribution = distribution or f"dist-{name}"
        site = tmp_path / "site" / distribution
        metadata = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (metadata / "entry_points.txt").write_text(f"[enarx_deploy]\n{name} = {module}\n")
        (site / f"{module}.py").write_text(source)
        enarx_deploy.paths.append(site)
        return site / f"{module}.py"

    return install


@pytest.fixture
def shelf(enarx_deploy: Program, install_plugin: Callable[..., Path]) -> Path:
    """A project whose providers are those of `plugins/shelf.py`; returns the directory where its Keeps are files."""
    install_plugin("shelf", (ROOT / "tests" / "plugins" / "shelf.py").read_text())
    (enarx_deploy.directory / "main.shelf").write_text("oak")
    (enarx_deploy.directory / "Enarx.toml").write_text(SHELF_MANIFEST)
    return Path(enarx_deploy.environment["ENARX_DEPLOY_STATE_DIR"]) / "shelf"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with this project's sdist, and the wheel built from that: a minute, mostly of rustc.

    Where tests run in several processes, the first that comes builds it for all.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return _build(tmp_path_factory.mktemp("built"))
    place = tmp_path_factory.getbasetemp().parent / "built"
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            _build(place.with_suffix(".making")).rename(place)
        return place


def _build(place: Path) -> Path:
    if shutil.which("cargo") is None:
        pytest.fail("the wheel needs a Rust toolchain: https://rustup.rs")
    # What the crate depends on need not be compiled again for a copy of the crate.
    environment = os.environ | {"CARGO_TARGET_DIR": str(ROOT / "pipeline" / "sallyport" / "target")}
    command = [sys.executable, "-m", "build", "--outdir", str(place), str(ROOT)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return place


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    """The wheel of this project."""
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def zig_cache() -> Path:
    """zig's cache, kept between sessions: filling it takes half a minute. As `ZIG_GLOBAL_CACHE_DIR` it is used."""
    return paths.cache_dir("zig")


@pytest.fixture(scope="session")
def kept() -> Path:
    """A directory for what tools keep from one session to the next, such as Go's compiled standard library."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = cache / "enarx-deploy" / "tests"
    place.mkdir(parents=True, exist_ok=True)
    return place


@pytest.fixture(scope="session")
def shared_cache(kept: Path) -> Path:
    """The program's cache, of all tests that ask for it and of earlier sessions: what modules were compiled to."""
    cache = kept / "program"
    cache.mkdir(mode=0o700, exist_ok=True)
    return cache


@pytest.fixture(scope="session")
def program(
    request: pytest.FixtureRequest, zig_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The module of a program of `tests/wasm_programs`, by its name; built once for each state of its sources."""
    built = Path(request.config.cache.mkdir("wasm_programs"))
    sources = ROOT / "tests" / "wasm_programs"

    def build(name: str) -> Path:
        from enarx_deploy.project import load_project
        from enarx_deploy.protocols import MissingTool
        from enarx_languages.c import C
        from enarx_languages.wat import Wat

        toolchain = Wat() if (sources / f"{name}.wat").exists() else C()
        tool = toolchain.find()
        if isinstance(tool, MissingTool):
            pytest.fail(f"the programs need {tool.name}: {tool.install}")
        source = sources / f"{name}.{toolchain.name}"
        read = [source, *sorted(sources.glob("*.h"))]
        state = hashlib.sha256(b"".join([tool.version.encode(), *(path.read_bytes() for path in read)])).hexdigest()
        module = built / f"{name}-{state[:16]}.wasm"
        if not module.exists():
            folder = tmp_path_factory.mktemp(name)
            for path in read:
                shutil.copy(path, folder)
            project = load_project(folder)
            project.work_dir.mkdir()
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("ZIG_GLOBAL_CACHE_DIR", str(zig_cache))
                toolchain.build(project, tool, folder / "main.wasm", print)
            (folder / "main.wasm").replace(module)
        return module

    return build
