"""What a deployment would change, before it does: what was made now against what is deployed.

What is deployed is what the target says of its Keeps; what they were made of is in the project's records, where this
project deployed them, and otherwise only their package's digest and backend are known.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from enarx_deploy import package_tree, records
from enarx_deploy.errors import PackageError
from enarx_deploy.models import ALIVE, Deployment, KeepStatus, Package, Record, ReferenceValues
from enarx_deploy.protocols import Elsewhere, KeepsScale, Versions
from enarx_deploy.stages.provision_tls import needs_certificate
from enarx_deploy.steps import DEPLOY, inputs_digest

if TYPE_CHECKING:
    from enarx_deploy.steps import Work

Action = Literal["none", "create", "replace", "certify"]
Part = Literal[
    "target", "backend", "image", "name", "replicas", "metrics", "package", "manifest", "policy", "certificate"
]
_DEPLOYED: Literal["deployed"] = "deployed"
_HIDDEN = "env"  # whose values may be nobody's business, and a plan ends up in logs


class Change(Record, frozen=True):
    """One thing that will be another. `name` is which of its kind: a file of the package, a key of the manifest.

    What was not there before, or will not be there, is "".
    """

    part: Part
    name: str
    before: str
    after: str


class Plan(Record, frozen=True):
    """What a deployment would do, and what becomes another by it.

    `certify` is a Keep that stays, and gets a certificate. `keeps` are the Keeps that are there and would be replaced;
    `replicas` is how many there will be, and `asked` how many the manifest wants: others where it was scaled since.
    """

    action: Action
    environment: str
    target: str
    host: str
    name: str
    backend: str
    package: str
    replicas: int
    asked: int
    keeps: list[str]
    changes: list[Change]


class Deployed(Record, frozen=True):
    """What a project deployed last in one environment, kept so that the next plan can name each difference."""

    deployment: str
    package: Package
    values: ReferenceValues
    settings: dict[str, str]


def make(work: Work) -> Plan:
    """Compare what the stages before `deploy` made with what is deployed."""
    package: Package = work.made["package"]
    known, keeps = _deployed(work), _there(work)
    action = _action(work, keeps)
    settings = work.project.settings
    return Plan(
        action=action,
        environment=settings.deploy,
        target=work.target.name,
        host=settings.host,
        name=work.project.name,
        backend=work.backend.name,
        package=package.digest,
        replicas=replicas(work),
        asked=settings.replicas,
        keeps=[keep.id for keep in keeps],
        changes=[] if action == "none" else list(_changes(work, known, keeps)),
    )


def replicas(work: Work) -> int:
    """How many Keeps will serve."""
    asked = work.project.settings.replicas
    return work.target.replicas_for(work.project.name, asked) if isinstance(work.target, KeepsScale) else asked


def remember(work: Work) -> None:
    """Keep what was just deployed for the next plan."""
    deployment: Deployment = work.made["deploy"]
    deployed = Deployed(
        deployment=deployment.id,
        package=work.made["package"],
        values=work.made["attest"],
        settings=_settings(work),
    )
    saved = records.save(work.project.work_dir, deployed)
    records.set_entry(work.project.work_dir, _DEPLOYED, work.slot, records.Entry(inputs="", record=saved))


def _deployed(work: Work) -> Deployed | None:
    entry = records.entry(work.project.work_dir, _DEPLOYED, work.slot)
    return records.read(work.project.work_dir, entry.record, Deployed) if entry else None


def _there(work: Work) -> list[KeepStatus]:
    """The Keeps that live and that the deployment would take the place of."""
    alive = [keep for keep in work.target.keeps() if keep.state in ALIVE]
    if isinstance(work.target, Versions):  # they go by their name, whoever deployed them
        return [keep for keep in alive if keep.name == work.project.name and keep.host == work.project.settings.host]
    entry = records.entry(work.project.work_dir, "deploy", DEPLOY.slot(work))
    last = records.read(work.project.work_dir, entry.record, Deployment) if entry else None
    return [keep for keep in alive if last and keep.id == last.id]


def _action(work: Work, keeps: list[KeepStatus]) -> Action:
    """As the runner will decide: a record that is usable is not made again."""
    if not keeps:
        return "create"
    if _deployed(work) is None and isinstance(work.target, Elsewhere) and not work.project.settings.force:
        return "none" if _serves_this(work, keeps) else "replace"
    digest = inputs_digest(work, "deploy", DEPLOY.inputs(work))
    record = records.current(work.project.work_dir, "deploy", DEPLOY.slot(work), digest, Deployment)
    if work.project.settings.force or record is None or not DEPLOY.usable(work, record):
        return "replace"
    waiting = any(keep.state == "starting" for keep in keeps) and needs_certificate(work.project)
    return "certify" if waiting else "none"


def _serves_this(work: Work, keeps: list[KeepStatus]) -> bool:
    """Whether it is there already, though not deployed from here: a job in CI has no records of the last one."""
    wanted = (work.made["package"].digest, work.backend.name, "running")
    same = all((keep.package, keep.backend, keep.state) == wanted for keep in keeps)
    return same and len(keeps) == replicas(work)


def _changes(work: Work, known: Deployed | None, keeps: list[KeepStatus]) -> Iterator[Change]:
    before = known.settings if known and keeps else {}
    if keeps and not before:
        before = {"backend": keeps[0].backend, "name": keeps[0].name, "target": keeps[0].target}
    for name, after in _settings(work).items():
        if (was := before.get(name, "")) != after and (after or was) and (before.get(name) is not None or not keeps):
            yield Change(part=name, name="", before=was, after=after)  # type: ignore[arg-type]  # the keys are parts
    yield from _package_changes(work, known, keeps)
    yield from _certificate_changes(work, keeps)


def _settings(work: Work) -> dict[str, str]:
    settings = work.project.settings
    place = f"{work.target.name} on {settings.host}" if settings.host else work.target.name
    return {
        "target": place,
        "backend": work.backend.name,
        "image": settings.image,
        "name": work.project.name,
        "replicas": str(settings.replicas),
        "metrics": settings.metrics,
    }


def _package_changes(work: Work, known: Deployed | None, keeps: list[KeepStatus]) -> Iterator[Change]:
    package: Package = work.made["package"]
    was = keeps[0].package if keeps else ""
    if was == package.digest:
        return
    yield Change(part="package", name="", before=was, after=package.digest)
    if known is None or known.package.digest != was:
        return
    before = {file.path: file for file in known.package.files}
    after = {file.path: file for file in package.files}
    for path in sorted(before.keys() | after.keys()):
        old, new = (one.sha256 if (one := files.get(path)) else "" for files in (before, after))
        if old != new:
            yield Change(part="package", name=path, before=old, after=new)
    yield from _differences("manifest", _manifest(known.package), _manifest(package))
    yield from _differences("policy", _policy(known.values), _policy(work.made["attest"]))


def _manifest(package: Package) -> dict[str, Any]:
    """The manifest in a package; nothing where it is gone, or one that this machine does not see."""
    try:
        package_tree.read(Path(package.root), package.digest)
        return tomllib.loads((Path(package.root) / package_tree.MANIFEST).read_text())
    except (OSError, PackageError, ValueError):
        return {}


def _policy(values: ReferenceValues) -> dict[str, Any]:
    return {"measurements": values.measurements, **values.policy}


def _differences(part: Part, before: dict[str, Any], after: dict[str, Any]) -> Iterator[Change]:
    was, will_be = dict(_leaves(before)), dict(_leaves(after))
    for name in sorted(was.keys() | will_be.keys()):
        old, new = was.get(name, ""), will_be.get(name, "")
        if old == new:
            continue
        if part == "manifest" and name.startswith(f"{_HIDDEN}."):
            old, new = old and "(hidden)", new and "(hidden)"
        yield Change(part=part, name=name, before=old, after=new)


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Each value with its name; a socket of `files` by its own, so that one more does not rename all."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _leaves(below, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{name}[{_key(item, index)}]")
    else:
        yield name, value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _key(item: Any, index: int) -> str:
    return str(item.get("name", index)) if isinstance(item, dict) else str(index)


def _certificate_changes(work: Work, keeps: list[KeepStatus]) -> Iterator[Change]:
    if not needs_certificate(work.project):
        return
    ends = keeps[0].certificate_not_after if keeps else ""
    whose = work.project.manifest.steward
    yield Change(
        part="certificate",
        name="",
        before=f"valid until {ends}" if ends else "",
        after=f"a new one by {work.issuer.name}{f' at {_shown_url(whose)}' if whose else ''}",
    )


def _shown_url(url: str) -> str:
    """Without what may be credentials."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"
