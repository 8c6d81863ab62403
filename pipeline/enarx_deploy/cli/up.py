"""`enarx-deploy up`: from sources to a running service."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.progress import at, reached_by
from enarx_deploy.cli.run_stages import ask_first, attest_first_options, run_stages

if TYPE_CHECKING:
    from enarx_deploy.cli.progress import Reporting
    from enarx_deploy.models import Deployment, Endpoint, Identity, ReferenceValues
    from enarx_deploy.project import Project
    from enarx_deploy.runner import StageRun
    from enarx_deploy.steps import Work
    from enarx_deploy.verification.certificate import Leaf

_COLUMNS = 100
_COPIED = ("clients trust", "check it", "look at it", "end it")  # rows in one line, however long: a path, or a command
_END = "-----END CERTIFICATE-----"


@click.command()
@common_options("manifest", "backend", "target", "cluster", "metrics", "force", "registry", "sign", "locked", "yes")
@attest_first_options
@click.argument("reference", default="")
def command(context: Context, reference: str, attest_first: bool | None, registry_roots: Path | None) -> None:
    """Compile, package, attest, deploy, and provision TLS: the project ends as a running service.

    What would change is said first, as by `plan`; on a terminal you are then asked, unless --yes is given.
    What did not change is not done again. When something did, what serves goes on until the new Keeps are healthy, and
    where they do not get so; a target that cannot do that stops it first.

    With REFERENCE the project is left alone: that package is fetched from its registry, checked, and served. Where it
    is in a Drawbridge that speaks TLS, and REFERENCE ends in its @sha256:HEX, the Keep fetches it: it gets its
    certificate for that digest first, and this machine never sees the package. `--set steward=URL` says who issues.
    """
    from enarx_deploy import plan

    projects: list[Project] = []
    wanted: list[tuple[int, int]] = []
    ask = ask_first(context, "provision_tls")

    def look(work: Work, shown: Reporting) -> None:
        projects.append(work.project)
        wanted.append((plan.replicas(work), work.project.settings.replicas))
        ask(work, shown)

    runs = run_stages(
        context,
        until="provision_tls",
        reference=reference,
        attest_first=attest_first,
        registry_roots=registry_roots,
        look=look,
    )
    made = {run.name: run.record for run in runs}
    if reference:
        made["deploy"] = _as_it_serves(context, made["deploy"])
    in_clear = [one for project in projects for one in _in_clear(project)]
    context.emit(
        lambda: _shown(made["attest"], made["deploy"], made["provision_tls"], _scaled(wanted), in_clear),
        _record(runs, made) | {"in_clear": in_clear} | _replicas(wanted),
    )


def _replicas(wanted: list[tuple[int, int]]) -> dict[str, int]:
    return {"replicas": wanted[0][0], "asked": wanted[0][1]} if wanted else {}


def _scaled(wanted: list[tuple[int, int]]) -> list[str]:
    from enarx_deploy.cli.show_plan import scaled

    return [scaled(replicas, asked) for replicas, asked in wanted if replicas != asked]


def _in_clear(project: Project) -> list[str]:
    """What the workload may connect to without TLS, so that nothing is proven there and nothing hidden."""
    granted = project.manifest.network.connect if project.manifest.network else ()
    return [destination for destination in granted if destination.startswith("tcp://")]


def _as_it_serves(context: Context, deployment: Deployment) -> Deployment:
    from enarx_deploy.stages.provision_tls import as_it_serves

    return as_it_serves(deployment, context.plugins.get("target", deployment.target))


def _record(runs: list[StageRun], made: dict[Any, Any]) -> dict[str, Any]:
    deployment, identity = made["deploy"], made["provision_tls"]
    return {
        "deployment": {
            "id": deployment.id,
            "backend": deployment.backend,
            "target": deployment.target,
            "package": deployment.package,
        },
        "endpoints": [
            {
                "name": endpoint.name,
                "host": endpoint.host,
                "port": endpoint.port,
                "prot": endpoint.prot,
                "certificate_sha256": _certificate(identity, endpoint.name),
            }
            for endpoint in deployment.endpoints
        ],
        "steward": {
            "url": identity.steward_url,
            "root_pem_path": identity.root_pem_path,
            "appraised": bool(identity.appraisal),
        },
        "identity": identity,
        "stages": [{"name": run.name, "skipped": run.skipped, "seconds": run.seconds} for run in runs],
    }


def _certificate(identity: Identity, endpoint: str) -> str:
    return next((served.certificate_sha256 for served in identity.endpoints if served.endpoint == endpoint), "")


def _shown(
    values: ReferenceValues, deployment: Deployment, identity: Identity, scaled: list[str], in_clear: list[str]
) -> str:
    rows = [
        *_places(deployment, identity),
        *[("replicas", one) for one in scaled],
        *[("in clear", f"{one}: the host and the network read and change what is said there") for one in in_clear],
        ("", ""),
        *_answers(values, deployment, identity),
        ("", ""),
        *_next(deployment, identity),
    ]
    return "\n".join([f"Keep {deployment.id} runs {deployment.name}", *(_row(*row) for row in rows)])


def _row(label: str, text: str) -> str:
    import textwrap

    head = f"  {label:<13} "
    if label in _COPIED:
        return head + text
    return textwrap.fill(
        head + text, _COLUMNS, subsequent_indent=" " * len(head), break_long_words=False, break_on_hyphens=False
    ).rstrip()


def _places(deployment: Deployment, identity: Identity) -> list[tuple[str, str]]:
    rows = []
    for endpoint in deployment.endpoints:
        rows.append(("endpoint", f"{endpoint.name}: {endpoint.prot} on {at(endpoint.host, endpoint.port)}"))
        if digest := _certificate(identity, endpoint.name):
            rows.append(("certificate", digest))
            rows += _names(endpoint, identity)
    if identity.root_pem_path and any(one.prot == "tls" for one in deployment.endpoints):
        rows.append(("clients trust", identity.root_pem_path))
    return rows


def _names(endpoint: Endpoint, identity: Identity) -> list[tuple[str, str]]:
    """Told where the certificate is not for the name by which the endpoint is reached: names come from the policy."""
    leaf = _leaf(endpoint, identity)
    named, names = leaf.is_for(reached_by(endpoint.host)) if leaf else (True, "")
    if named:
        return []
    return [("", f"{names}: clients have to expect one of its names, which are those of the Steward's policy")]


def _leaf(endpoint: Endpoint, identity: Identity) -> Leaf | None:
    """The certificate that an endpoint serves; None where none was told that can be read: by a plugin, or by another
    machine."""
    import ssl

    from enarx_deploy.verification.certificate import read_leaf

    chain = next((served.chain_pem for served in identity.endpoints if served.endpoint == endpoint.name), "")
    first, end, _ = chain.partition(_END)
    try:
        return read_leaf(ssl.PEM_cert_to_DER_cert(first + end)) if end else None
    except ValueError:
        return None


def _answers(values: ReferenceValues, deployment: Deployment, identity: Identity) -> list[tuple[str, str]]:
    """Secure from whom, for how long, where. A program without a socket has no channel to ask that of."""
    if not deployment.endpoints and not identity.issuer:
        return [("no socket", f"nobody reaches it over the network. {_protection(values)}. Its log has what it prints")]
    return [
        ("from whom", _from_whom(values, identity)),
        ("for how long", _for_how_long(identity)),
        ("where", _where(values, deployment, identity)),
    ]


def _protection(values: ReferenceValues) -> str:
    if values.hardware:
        return f"Its host and other tenants are kept out as far as {values.backend} does that; its CPU vouches for it"
    return (
        f"Backend {values.backend} has no hardware protection: whoever controls the machine can read and change all "
        "of it"
    )


def _from_whom(values: ReferenceValues, identity: Identity) -> str:
    if identity.issuer and not identity.appraisal:
        return (
            f"from those on the network: {identity.issuer} vouches that whoever holds the key controls the name. It "
            "looked at no evidence, so that a client cannot tell this Keep from any other program under that name"
        )
    if values.hardware:
        return f"the host and its other tenants, as far as {values.backend} keeps them out; its CPU vouches for it"
    return (
        f"only from those on the network: backend {values.backend} has no hardware protection, and whoever controls "
        "this machine can read and change everything"
    )


def _for_how_long(identity: Identity) -> str:
    if not identity.issuer:
        return "not at all: no socket speaks TLS"
    return f"the certificate of {identity.issuer} is valid until {identity.not_after}; TLS 1.3 only"


def _where(values: ReferenceValues, deployment: Deployment, identity: Identity) -> str:
    if not identity.issuer:
        return f"a Keep on target {deployment.target}; the host and the network see everything that is sent"
    seen = "sees sizes, times and addresses" if values.hardware else "sees all that the Keep does"
    return f"TLS ends inside the Keep, on target {deployment.target}; the machine that it runs on {seen}"


def _next(deployment: Deployment, identity: Identity) -> list[tuple[str, str]]:
    return [
        *_check(deployment, identity),
        ("look at it", f"enarx-deploy logs {deployment.id}"),
        ("end it", f"enarx-deploy stop {deployment.id}"),
    ]


def _check(deployment: Deployment, identity: Identity) -> list[tuple[str, str]]:
    """How to verify the first endpoint with TLS. A root that is not our own Steward's has to be named, and then also
    the backend that is good enough under it. Where no evidence was looked at there is nothing to verify."""
    from enarx_deploy.paths import state_dir

    tls = [endpoint for endpoint in deployment.endpoints if endpoint.prot == "tls"]
    if not tls or not identity.appraisal:
        return []
    root = identity.root_pem_path
    own = root == str(state_dir("steward") / "root.pem")
    trust = "" if own or not root else f" --root {shlex.quote(root)} --accept {deployment.backend}"
    name = _expected_name(tls[0], identity)
    return [("check it", f"enarx-deploy verify {at(tls[0].host, tls[0].port)}{trust}{name}")]


def _expected_name(endpoint: Endpoint, identity: Identity) -> str:
    """What `verify` has to be told where the certificate has other names than the endpoint's host."""
    leaf = _leaf(endpoint, identity)
    if leaf is None or leaf.is_for(reached_by(endpoint.host))[0]:
        return ""
    name = next((one for one in leaf.dns_names if one.isprintable()), "")
    return f" --server-name {shlex.quote(name)}" if name else ""
