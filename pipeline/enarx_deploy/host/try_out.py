"""Run a program at once: a Keep in the foreground, on this process's own standard streams."""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from enarx_deploy import choice, package_tree
from enarx_deploy.errors import KeepError, UsageError
from enarx_deploy.host import releasing
from enarx_deploy.host.outcome import Outcome
from enarx_deploy.host.session import Grants, Session, Stdio
from enarx_deploy.manifest import parse
from enarx_deploy.models import KeepStatus, Package, PackageSource
from enarx_deploy.project import MANIFEST_NAME, Project

if TYPE_CHECKING:
    from collections.abc import Callable

    from enarx_deploy.manifest import Manifest
    from enarx_deploy.plugin_manager import PluginManager
    from enarx_deploy.protocols import Issuer
    from enarx_deploy.runner import Reporter
    from enarx_signing import Signers

PATIENCE = 86_400.0
"""Seconds that whoever reads our standard output may take to read what the workload wrote."""


class Program(AbstractContextManager["Program"]):
    """A package made of what was named: a wasm file, a project, a package's tree, or a reference to a package.

    With `changes`, the user wants another manifest than what was named may have, which a package cannot take.
    """

    package: Package
    manifest: Manifest
    source: PackageSource | None = None

    def __init__(
        self,
        named: str,
        project: Project,
        plugins: PluginManager,
        *,
        changes: bool = False,
        registry_host: str = "",
        signers: Signers | None = None,
    ) -> None:
        self.named = named
        self._registry_host = registry_host
        self._signers = signers
        self._changes = changes
        self._project = project
        self._plugins = plugins
        self._stack = ExitStack()

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def prepare(self, reporter: Reporter) -> None:
        """Make the package, or fetch it. Raises EnarxDeployError."""
        self.package = self._package(reporter)
        text = (Path(self.package.root) / package_tree.MANIFEST).read_bytes()
        self.manifest = parse(text, f"{self.named}/{package_tree.MANIFEST}").manifest

    def _package(self, reporter: Reporter) -> Package:
        path = Path(self.named)
        if path.is_file():
            return self._of_module(path)
        if path.is_dir() and not package_tree.is_package(path):
            return self._of_project(reporter)
        if self._changes:
            raise UsageError(
                f"{self.named} is a package, whose manifest is part of what its digest names",
                hint="leave out --set and --manifest, or run the project or the module that it was made of",
            )
        return package_tree.copy(path, self._folder()) if path.is_dir() else self._fetched(reporter)

    def _folder(self) -> Path:
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="enarx-run.")))

    def _of_module(self, path: Path) -> Package:
        """The manifest beside a module is not read: as in Enarx, `--manifest` names one."""
        from enarx_deploy import wasm

        data = path.read_bytes()
        wasm.inspect(data, str(path))
        project = self._project
        return package_tree.build(
            Project(self._folder(), project.manifest, project.manifest_file, project.manifest_text), data
        )

    def _of_project(self, reporter: Reporter) -> Package:
        """`project` was read from there."""
        from enarx_deploy import runner

        runs = runner.run(self._project, self._plugins, reporter, until="package")
        package: Package = runs[-1].record
        return package

    def _fetched(self, reporter: Reporter) -> Package:
        from enarx_deploy import fetching, reference

        if not reference.names_a_registry(self.named):
            raise UsageError(
                f"{self.named}: no such file or directory, and not a reference to a package",
                hint=f"name a .wasm file, a directory with an {MANIFEST_NAME}, or a package such as HOST/USER/NAME:1.0",
            )
        parsed = reference.parse(self.named, self._registry_host)
        return fetching.fetch(parsed, self._plugins, reporter.progress, signers=self._signers)


class Unseen(NamedTuple):
    """A package that the Keep fetches itself. Of its manifest only what decides on its deployment is known."""

    named: str
    package: Package
    manifest: Manifest
    source: PackageSource


class Watcher(NamedTuple):
    """Who watches a program run: `note` hears of each step, `made` gets the session before it starts, and `warn` hears
    of certificates that end."""

    note: Callable[[str], None]
    made: Callable[[Session], None]
    warn: Callable[[str], None]


def run(
    program: Program | Unseen, project: Project, plugins: PluginManager, grants: Grants, watcher: Watcher
) -> tuple[Outcome, Session]:
    """Run a program to its end. Raises EnarxDeployError where it does not start."""
    backend, why = choice.backend(project, plugins, here=True)
    watcher.note(why)
    keep = Project(Path(program.package.root), program.manifest, None, b"")
    session = Session(
        program.package,
        program.manifest,
        backend,
        Stdio(stdin=0, stdout=1, stderr=2, complaints=2),
        grants=grants,
        delivery_limit=PATIENCE,
        release=lambda session, names: releasing.release(session, _issuer(keep, plugins), keep, names),
        source=program.source,
    )
    status = _starting(program, backend.name)
    if project.settings.metrics:
        _serve_metrics(project.settings.metrics, session, lambda: status, watcher.note)
    watcher.made(session)
    try:
        session.start()
        not_after = _certify(session, _issuer(keep, plugins), keep, watcher) if session.needs_certificate else ""
        status = msgspec.structs.replace(status, state="running", certificate_not_after=not_after)
        for line in session.lacking:
            watcher.note(f"this machine lacks a part of the jail: {line}")
        for endpoint in session.endpoints:
            watcher.note(f"{endpoint.name}: {endpoint.prot} on {endpoint.host} port {endpoint.port}")
        return session.wait(), session
    except BaseException:
        session.kill()
        raise


def _starting(program: Program | Unseen, backend: str) -> KeepStatus:
    return KeepStatus(
        id="run",
        name=Path(program.named).stem,
        state="starting",
        backend=backend,
        target="",
        package=program.package.digest,
        endpoints=[],
        created="",
    )


def _serve_metrics(
    address: str, session: Session, status: Callable[[], KeepStatus], note: Callable[[str], None]
) -> None:
    from enarx_deploy.host.metrics import Endpoint, pages_of
    from enarx_deploy.host.usage import measure

    pages = pages_of(status, lambda: measure(session.counters(), session.keep_pid))
    note(f"metrics on {Endpoint(address, pages).address}")


def _issuer(keep: Project, plugins: PluginManager) -> Issuer:
    """The manifest's Steward if it names one, else a throw-away CA that nobody vouches for."""
    issuer: Issuer = plugins.get("issuer", keep.manifest.attest.issuer if keep.manifest.steward else "selfsigned")
    return issuer


def _certify(session: Session, issuer: Issuer, keep: Project, watcher: Watcher) -> str:
    """Have a certificate issued, and renewed while the program runs, or told that it is not. Answers when it ends."""
    from enarx_deploy.host import certification
    from enarx_deploy.host.renewal import Renewal, Validity

    certified = certification.certify(session, issuer, keep)
    watcher.note(f"certificate issued by {issuer.name} {certified.url}".rstrip())

    def renew() -> Validity:
        if not issuer.renews:
            raise KeepError(f"the issuer {issuer.name!r} does not renew", hint="run it anew before that")
        renewed = certification.certify(session, issuer, keep, certified.root)
        return Validity.read(renewed.not_before, renewed.not_after)

    renewal = Renewal(renew, watcher.warn)
    renewal.start()
    renewal.installed(Validity.read(certified.not_before, certified.not_after))
    return certified.not_after
