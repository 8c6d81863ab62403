"""What is asked of the vendors is made of numbers, never of addresses in evidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from enarx_attestation import InvalidArgument, MalformedEvidence, parse
from enarx_attestation.intel_quote import Quote
from enarx_attestation.lookup import PlatformRequest, platform_request, vcek_request
from enarx_attestation.snp_report import SnpEvidence

if TYPE_CHECKING:
    from conftest import Amd

VECTORS = Path(__file__).parent / "vectors"


def report(name: str) -> SnpEvidence:
    found = parse((VECTORS / "snp" / name / "report.bin").read_bytes(), "snp")
    assert isinstance(found, SnpEvidence)
    return found


def quote(name: str) -> Quote:
    found = parse((VECTORS / name / "quote.bin").read_bytes())
    assert isinstance(found, Quote)
    return found


def test_the_key_of_a_chip() -> None:
    (milan,) = vcek_request(report("milan-v3-azure"))
    assert milan.path.startswith("/vcek/v1/Milan/4ffb5cb4fd594f3f")
    assert milan.path.endswith("?blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219")
    (turin,) = vcek_request(report("turin-v5-fmc"))
    assert turin.path == "/vcek/v1/Turin/59790fb1c39f35c1?fmcSPL=01&blSPL=01&teeSPL=01&snpSPL=04&ucodeSPL=81"


def test_a_report_that_does_not_name_its_product() -> None:
    assert [found.product for found in vcek_request(report("milan-v2-enarx-csr"))] == ["Milan", "Genoa"]
    assert [found.product for found in vcek_request(report("milan-v2-enarx-csr"), ["Genoa"])] == ["Genoa"]
    with pytest.raises(InvalidArgument):
        vcek_request(report("milan-v2-enarx-csr"), ["Rome"])


def test_reports_for_which_there_is_no_key_of_a_chip(amd: Amd) -> None:
    for fields in ({0x48: b"\x04"}, {0x1A0: bytes(64)}):
        found = parse(amd.report(fields), "snp")
        assert isinstance(found, SnpEvidence)
        assert vcek_request(found) == []
    unknown = parse(amd.report({0x188: b"\x1c\x00"}), "snp")
    assert isinstance(unknown, SnpEvidence)
    with pytest.raises(MalformedEvidence):
        vcek_request(unknown)


def test_the_collateral_of_a_platform() -> None:
    assert platform_request(quote("tdx/phala-v4-uptodate")) == PlatformRequest("tdx", "b0c06f000000", "platform")
    assert platform_request(quote("sgx/phala-nonserver-cfg-swhard")) == PlatformRequest(
        "sgx", "00a067110000", "processor"
    )
    assert platform_request(quote("sgx/azure-odd-chain-order")).fmspc == "00906ea10000"
    with pytest.raises(MalformedEvidence):
        platform_request(quote("sgx/encrypted-ppid-ct3"))
