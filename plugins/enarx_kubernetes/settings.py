"""`[deploy.NAME.kubernetes]`: what a deployment to a cluster needs to be told."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from enarx_deploy.manifest.types import Table

Label = Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Quantity = Annotated[str, Meta(pattern=r"^[0-9]+(\.[0-9]+)?(m|Ki|Mi|Gi|Ti)?$")]
Count = Annotated[int, Meta(ge=1, le=1000)]
UnprivilegedPort = Annotated[int, Meta(ge=1024, le=65535)]
Image = Annotated[str, Meta(pattern=r"^[^\s@]+@sha256:[0-9a-f]{64}$")]


class Settings(Table, frozen=True, kw_only=True):
    """One table. What a cluster decides is not here: which nodes there are, who may do what."""

    context: Annotated[str, Meta(description="The context of the kubeconfig. There is no default cluster.")] = ""
    namespace: Annotated[Label | None, Meta(description="Default: the context's, else `default`.")] = None
    repository: Annotated[
        str, Meta(description="Where images are pushed: oci://HOST/REPOSITORY, which the nodes can pull from.")
    ] = ""
    image: Annotated[
        Image | None, Meta(description="An image of this package that is there already, by its digest.")
    ] = None
    base: Annotated[
        str,
        Meta(
            description="An image with a CPython of this version, oci://HOST/REPOSITORY@sha256:HEX, to build on. "
            "Default: the CPython that runs this program, and the libraries that it needs."
        ),
    ] = ""
    runtime_class: Annotated[
        Label | None, Meta(description="The RuntimeClass. Default: that of the backend, and none for nil.")
    ] = None
    service: Annotated[
        Literal["ClusterIP", "NodePort", "LoadBalancer"], Meta(description="How the Service is reached.")
    ] = "ClusterIP"
    max_replicas: Annotated[
        Count | None, Meta(description="With it an autoscaler runs from `replicas` to so many.")
    ] = None
    cpu_target: Annotated[
        int, Meta(ge=1, le=100, description="Percent of the requested processors that the autoscaler aims at.")
    ] = 70
    cpu: Annotated[Quantity, Meta(description="Processors that each pod requests.")] = "250m"
    memory: Annotated[
        Quantity, Meta(description="Memory that each pod requests; its limit follows from [resources].")
    ] = "256Mi"
    metrics_port: Annotated[
        UnprivilegedPort | None,
        Meta(
            description="A port of the pods where metrics are served to whoever reaches it in the cluster. "
            "Default: none; `top` knows what Keeps use only with one.",
        ),
    ] = None
    steward_root: Annotated[
        str, Meta(description="The Steward's root (PEM), a file of the project. Default: the one that is pinned here.")
    ] = ""
    revisions: Annotated[int, Meta(ge=1, le=100, description="Earlier versions that are kept to go back to.")] = 10
    patience: Annotated[int, Meta(ge=10, le=3600, description="Seconds that a rollout may take.")] = 300
