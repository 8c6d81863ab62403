"""A cluster, reached as kubectl would: by a context of the user's kubeconfig, and never by a default."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import msgspec
import yaml
from lightkube import ApiError, Client, KubeConfig
from lightkube.config import client_adapter
from lightkube.core.exceptions import ConfigError
from lightkube.types import PatchType

from enarx_deploy.errors import EnarxDeployError, KeepError, UsageError
from enarx_kubernetes import faults, labels

if TYPE_CHECKING:
    from lightkube.config.kubeconfig import SingleConfig
    from lightkube.core.resource import NamespacedResource

_CONFLICT, _NOT_FOUND, _FORBIDDEN, _UNAUTHORIZED = 409, 404, 403, 401
_OLDER_FORMS = {"policy/v1": "policy/v1beta1"}
"""Groups whose objects look the same in an older version, for clusters that do not have the newer one."""
_PATIENCE = httpx2.Timeout(30.0)
_LARGEST_PAGE = 1 << 20  # bytes


def kubeconfigs() -> list[Path]:
    """The files that kubectl would read."""
    named = os.environ.get("KUBECONFIG", "")
    return [Path(one) for one in named.split(os.pathsep) if one] or [Path("~/.kube/config").expanduser()]


def find_context(name: str, files: list[Path]) -> tuple[SingleConfig, Path]:
    """The context of this name, and its file. Raises UsageError, which lists those that there are."""
    seen: list[str] = []
    for path in files:
        config = _read(path)
        if config is None:
            continue
        if name in config.contexts:
            with _config_faults(path):
                found = config.get(name)
                assert found is not None  # noqa: S101 - the context is there
                return found, path
        seen += config.contexts
    shown = ", ".join(map(str, files))
    there = f"{shown} has: {', '.join(sorted(seen))}" if seen else f"{shown} has no context"
    if not name:
        raise UsageError("which cluster is not said", hint=f"add --context NAME; {there}")
    raise UsageError(f"no context {name!r} in the kubeconfig", hint=there)


def _read(path: Path) -> KubeConfig | None:
    if not path.is_file():
        return None
    with _config_faults(path):
        return KubeConfig.from_file(path)


@contextlib.contextmanager
def _config_faults(path: Path) -> Iterator[None]:
    try:
        yield
    except (ConfigError, yaml.YAMLError, OSError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} cannot be used: {error}", hint="does `kubectl config view` read it?") from error


class Cluster:
    """One cluster and one namespace. Every method raises KeepError where the cluster cannot be asked or refuses."""

    def __init__(self, context: str, kubeconfig: Path, config: SingleConfig, namespace: str) -> None:
        self.context = context
        self.kubeconfig = kubeconfig
        self.namespace = namespace
        with _config_faults(kubeconfig):
            self.client: Client = Client(
                config=config, namespace=namespace, field_manager=labels.MANAGER, timeout=_PATIENCE
            )

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    @contextlib.contextmanager
    def asked(self, what: str) -> Iterator[None]:
        """Turn what the client raises into our errors; `what` says what was being done."""
        try:
            yield
        except ApiError as error:
            raise self._refused(what, error) from error
        except (httpx2.HTTPError, OSError, ConfigError) as error:
            raise KeepError(
                f"{what}: the cluster of context {self.context!r} cannot be reached: {error or type(error).__name__}",
                hint=f"does `kubectl --context {self.context} get pods` answer?",
            ) from error

    def page(self, pod: str, port: int, path: str) -> str:
        """What a pod serves over HTTP, by way of the API server. Raises KeepError."""
        url = f"/api/v1/namespaces/{self.namespace}/pods/{pod}:{port}/proxy/{path}"
        what = f"asking {pod} for {path}"
        with (
            self.asked(what),
            client_adapter.Client(self.client.config, client_adapter.ConnectionParams(timeout=_PATIENCE)) as client,
            client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as answer,
        ):
            if answer.status_code != httpx2.codes.OK:
                raise KeepError(
                    f"{what}: the cluster answers with status {answer.status_code}",
                    hint="it takes the right `get` on pods/proxy: the how-to has a Role",
                )
            said = bytearray()
            for piece in answer.iter_raw():  # packed, a small page could fill the memory
                said += piece
                if len(said) > _LARGEST_PAGE:
                    raise KeepError(
                        f"{what}: more than {_LARGEST_PAGE:,} bytes", hint="is it a Keep that answers at that port?"
                    )
            return said.decode(errors="replace")

    def apply(self, one: Any) -> None:
        """Make an object so (server-side apply). What others have set stays theirs, and is an error."""
        shown = f"{type(one).__name__} {one.metadata.name}"
        with self.asked(f"applying {shown}"):
            try:
                self._apply(one)
            except ApiError as error:
                if error.status.code == _CONFLICT and _only_our_own(error):
                    self._apply(one, force=True)
                elif error.status.code == _NOT_FOUND and (older := _older(one)):
                    self._apply(older)
                else:
                    raise

    def _apply(self, one: Any, *, force: bool = False) -> None:
        self.client.patch(
            type(one), one.metadata.name, one, namespace=self.namespace, patch_type=PatchType.APPLY, force=force
        )

    def remove(self, kind: type[NamespacedResource], name: str) -> None:
        """Delete it, if it is there. What somebody else manages is an error."""
        self.require_ours(kind, name)
        with self.asked(f"removing {kind.__name__} {name}"):
            for form in (kind, _older_kind(kind)):
                try:
                    self.client.delete(form, name, namespace=self.namespace)
                except ApiError as error:
                    if error.status.code != _NOT_FOUND:
                        raise

    def require_ours(self, kind: Any, name: str) -> None:
        """Raise KeepError where there is an object of this name that this program did not make: applying ours would
        merge the two, and removing ours would remove both."""
        for form in dict.fromkeys((kind, _older_kind(kind))):
            found = self._found(form, name)
            said = (found.metadata.labels if found is not None and found.metadata else None) or {}
            if found is not None and said.get(labels.MANAGED_BY) != labels.MANAGER:
                raise KeepError(
                    f"{kind.__name__} {name} is in namespace {self.namespace} already, and is somebody else's",
                    hint="give the deployment another `name` in [deploy.NAME], or another namespace",
                )

    def _found(self, kind: Any, name: str) -> Any:
        with self.asked(f"looking for {kind.__name__} {name}"):
            try:
                return self.client.get(kind, name, namespace=self.namespace)
            except ApiError as error:
                if error.status.code != _NOT_FOUND:
                    raise
        return None

    def _refused(self, what: str, error: ApiError) -> EnarxDeployError:
        said = " ".join((error.status.message or str(error)).split())[:600]
        if explained := faults.explain(said):
            return KeepError(f"{what}: {explained.cause}", hint=explained.fix)
        hints = {
            _UNAUTHORIZED: f"log in to the cluster again; `kubectl --context {self.context} auth whoami` tries it",
            _FORBIDDEN: f"ask for that right in namespace {self.namespace}: the how-to has a Role",
            _CONFLICT: "somebody else manages these fields: give them up there, or use `--render` and apply the files "
            "yourself, with kubectl apply --server-side --force-conflicts",
            _NOT_FOUND: f"is there a namespace {self.namespace!r}? kubectl create namespace {self.namespace}",
        }
        return KeepError(f"{what}: {said}", hint=hints.get(error.status.code or 0, "the cluster said so"))


def open_cluster(context: str, namespace: str | None = None, kubeconfig: Path | None = None) -> Cluster:
    """The cluster of a context, from one file or from those that kubectl would read. Raises UsageError."""
    config, path = find_context(context, [kubeconfig] if kubeconfig else kubeconfigs())
    return Cluster(context, path, config, namespace or config.namespace)


def _only_our_own(error: ApiError) -> bool:
    """Whether all that stands in the way was set by this program in another way, such as by `scale`."""
    details = error.status.details
    causes = (details.causes if details else None) or []
    return bool(causes) and all(f'conflict with "{labels.MANAGER}' in (cause.message or "") for cause in causes)


def _older(one: Any) -> Any:
    """The same object in the version that older clusters have; None where there is none."""
    kind = _older_kind(type(one))
    return None if kind is type(one) else kind(msgspec.to_builtins(one) | {"apiVersion": _OLDER_FORMS[one.apiVersion]})


def _older_kind(kind: type[NamespacedResource]) -> Any:
    """The same kind of object in the version that older clusters have, else the kind itself."""
    from lightkube.core.resource import api_info
    from lightkube.generic_resource import create_namespaced_resource

    info = api_info(kind)
    form = _OLDER_FORMS.get(f"{info.resource.group}/{info.resource.version}")
    if form is None:
        return kind
    return create_namespaced_resource(info.resource.group, form.partition("/")[2], info.resource.kind, info.plural)
