"""Manifests as files, for GitOps: one YAML file for each object, and a `kustomization.yaml` that lists them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from enarx_kubernetes import yaml_form

if TYPE_CHECKING:
    from lightkube.core.resource import Resource

KUSTOMIZATION = "kustomization.yaml"
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


def file_name(kind: str, taken: Iterable[str]) -> str:
    """The kind in small letters with hyphens, and a number where there is one already."""
    plain = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in kind).lstrip("-")
    count = sum(name.startswith((f"{plain}.", f"{plain}-")) for name in taken)
    return f"{plain}-{count + 1}.yaml" if count else f"{plain}.yaml"
