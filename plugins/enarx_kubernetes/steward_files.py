"""The set of a Steward as files, without a secret in any of them, and the commands that make the Secrets."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy.errors import UsageError
from enarx_deploy.protocols import Progress
from enarx_kubernetes import stewards
from enarx_kubernetes.stewards import CA_SECRET, DATABASE_SECRET, PIN_SECRET, STATE

if TYPE_CHECKING:
    from enarx_kubernetes.stewards import Wanted

README = "README.md"


_NEEDED = {"psycopg": "postgresql", "pkcs11": "pkcs11"}
"""Modules that are in the image where they are installed here, and the extras that bring them."""


def pushed(repository: str, base: str, progress: Progress, *, pkcs11: bool) -> str:
    """The Steward's image, built and sent. Raises UsageError, RegistryError."""
    if not repository:
        raise UsageError(
            "the Steward's image is not said", hint="--repository builds and pushes one, --image names one"
        )
    for module in ("psycopg", "pkcs11") if pkcs11 else ("psycopg",):
        if importlib.util.find_spec(module) is None:
            raise UsageError(
                f"{module}, which the Steward's image needs, is not installed here",
                hint=f"pip install 'enarx-deploy[{_NEEDED[module]}]'",
            )
    from enarx_kubernetes.image import image
    from enarx_registries import oci_images

    made = image.of_steward(base)
    return oci_images.push(repository, made.layers, made.configuration, made.base, progress)


def write(wanted: Wanted, directory: Path) -> list[str]:
    """Write the set into a directory; returns the paths. Raises UsageError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        made = files(wanted)
        for name, content in made.items():
            (directory / name).write_bytes(content)
    except OSError as error:
        raise UsageError(f"{directory}: {error.strerror}", hint="name a directory that you can write to") from error
    return [str(directory / name) for name in made]


def files(wanted: Wanted) -> Mapping[str, bytes]:
    """The set by file name. Raises UsageError where the client for Kubernetes is not installed."""
    try:
        from enarx_kubernetes import render
        from enarx_kubernetes.manifests import steward
    except ImportError as error:
        raise UsageError(
            "the client for Kubernetes is missing", hint="pip install 'enarx-deploy[kubernetes]'"
        ) from error
    _ = wanted.host
    stewards.require_policy(wanted.policy, wanted.url)
    return {**render.files(steward.objects(wanted)), README: _readme(wanted).encode()}


def _readme(wanted: Wanted) -> str:
    key = (
        f"kubectl -n {wanted.namespace} create secret generic {PIN_SECRET} --from-file=pin=./pin"
        if wanted.pkcs11
        else f"""enarx-deploy steward --init --state ./steward
kubectl -n {wanted.namespace} create secret generic {CA_SECRET} \\
  --from-file=ca.key=./steward/ca.key --from-file=root.pem=./steward/root.pem"""
    )
    root = "the token" if wanted.pkcs11 else "./steward"
    database = "steward-postgresql" if wanted.database_image else "db.example.org"
    place = f"postgresql://steward@{database}/steward?sslmode=verify-full&sslrootcert={STATE}/database-root.pem"
    return f"""# A Steward at {wanted.url}

Written by `enarx-deploy kubernetes steward`. No secret is in these files; make them first:

```sh
kubectl apply -f namespace.yaml
{key}
kubectl -n {wanted.namespace} create secret generic {DATABASE_SECRET} \\
  --from-literal=url='{place}' \\
  --from-file=password=./password --from-file=database-root.pem=./database-root.pem
kubectl apply --server-side -k .
```

The database's owner makes the tables once (`enarx-deploy steward log verify --database URL`), and `steward` may add to
the log and change nothing in it: see "Several Stewards" in the documentation's operations.

Clients and Keeps pin the root, which is in {root}: give it to `steward_root` in `[deploy.NAME.kubernetes]`. The policy
is in `config-map.yaml`; after a change of it, render again.
"""
