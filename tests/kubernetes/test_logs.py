"""What is read of a pod's log, where the workload writes too."""

from __future__ import annotations

import pytest

from enarx_deploy.errors import KeepError
from enarx_kubernetes import logs


def test_a_chain_is_read_as_its_host_process_writes_it() -> None:
    assert logs._read('{"chain": ["bGVhZg==", "cm9vdA=="], "not_after": ""}', "pod").chain == [b"leaf", b"root"]


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", '{"chain": ["x"], "not_after": ""}', '{"chain": [1], "not_after": ""}', '{"chain": "bGVhZg=="}'],
    ids=["nothing", "cut-short", "a-list", "no-base64", "numbers", "text"],
)
def test_a_line_that_is_no_certificate_is_an_error_that_names_the_pod(line: str) -> None:
    with pytest.raises(KeepError, match="what pod-1 says of its certificate cannot be read"):
        logs._read(line, "pod-1")
