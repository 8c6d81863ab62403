"""Manifests as files, for GitOps: one YAML file for each object, and a `kustomization.yaml` that lists them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec
import tomli_w

from enarx_kubernetes import init_data, runtime_class, yaml_form

if TYPE_CHECKING:
    from lightkube.core.resource import Resource

    from enarx_kubernetes.desired import Desired

KUSTOMIZATION = "kustomization.yaml"
STEWARD_POLICY = "steward-policy.toml"
_MEASURED = {
    "snp": "`measurements`, the launch digests",
    "tdx": "`mrtds`, `rtmr1` and `rtmr2`, the registers",
}
_HEAD = ("apiVersion", "kind", "metadata")


def files(objects: Iterable[Resource]) -> dict[str, bytes]:
    """Content by file name. The same objects always make the same bytes."""
    made: dict[str, bytes] = {}
    for one in objects:
        document = msgspec.to_builtins(one)
        ordered = {key: document[key] for key in (*_HEAD, *sorted(document.keys() - set(_HEAD)))}
        made[file_name(ordered["kind"], made)] = yaml_form.dump(ordered)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": list(made),
    }
    return {**made, KUSTOMIZATION: yaml_form.dump(kustomization)}


def steward_policy(desired: Desired) -> dict[str, bytes]:
    """What the Steward's policy needs for pods that are attested, as a file for whoever runs it. It is not applied."""
    from enarx_kubernetes.manifests import pod

    if desired.backend not in runtime_class.ATTESTED:
        return {}
    section = init_data.accepted(desired.backend, desired.package, pod.guest_data(desired))
    head = (
        f"# For the policy of {desired.steward or 'the Steward'}. It lacks {_MEASURED[desired.backend]} of the guest\n"
        "# that Kata starts on your nodes, and `names`: see docs/how-to/deploy-on-kubernetes.md.\n\n"
    )
    return {STEWARD_POLICY: f"{head}{tomli_w.dumps(section)}".encode()}


def file_name(kind: str, taken: Iterable[str]) -> str:
    """The kind in small letters with hyphens, and a number where there is one already."""
    plain = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in kind).lstrip("-")
    count = sum(name.startswith((f"{plain}.", f"{plain}-")) for name in taken)
    return f"{plain}-{count + 1}.yaml" if count else f"{plain}.yaml"
