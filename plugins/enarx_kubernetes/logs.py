"""What a pod's container wrote: the workload's output, and the lines of its host process among it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import msgspec

from enarx_deploy.errors import KeepError, UsageError
from enarx_deploy.host.pod_log import CERTIFICATE, SAYS

if TYPE_CHECKING:
    from enarx_kubernetes.cluster import Cluster

_LOOK_EVERY = 0.5  # seconds
_TAIL = 2000  # lines in which the newest certificate is looked for


class _Certificate(msgspec.Struct, frozen=True):
    chain: list[bytes]
    not_after: str


def read(
    cluster: Cluster, pod: str, *, follow: bool, stream: Literal["stdout", "stderr", "host", "all"]
) -> Iterator[bytes]:
    """Line by line. Raises UsageError for a stream that a cluster cannot tell from others."""
    if stream in ("stdout", "stderr"):
        raise UsageError(
            "a pod's log does not tell standard output from standard error", hint="leave --stream out, or say host"
        )
    with cluster.asked(f"reading the log of {pod}"):
        for line in cluster.client.log(pod, namespace=cluster.namespace, follow=follow):
            if stream == "all" or line.startswith(SAYS):
                yield line.encode()


def certificate(cluster: Cluster, pod: str, patience: float) -> list[bytes]:
    """The chain (DER, leaf first) that a pod's Keep got last, as its host process says. Raises KeepError."""
    until = time.monotonic() + patience
    while True:
        with cluster.asked(f"reading the log of {pod}"):
            lines = list(cluster.client.log(pod, namespace=cluster.namespace, tail_lines=_TAIL))
        for line in reversed(lines):
            if line.startswith(SAYS + CERTIFICATE):
                return _read(line.removeprefix(SAYS + CERTIFICATE), pod).chain
        if time.monotonic() > until:
            raise KeepError(f"{pod} does not say which certificate it got", hint=f"see `enarx-deploy logs {pod}`")
        time.sleep(_LOOK_EVERY)


def _read(text: str, pod: str) -> _Certificate:
    try:
        return msgspec.json.decode(text, type=_Certificate)
    except msgspec.MsgspecError as error:
        raise KeepError(
            f"what {pod} says of its certificate cannot be read: {error}",
            hint="does its image have another version of this program?",
        ) from error
