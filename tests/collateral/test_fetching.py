"""What is asked of vendors, and what becomes of their answers: against a real HTTPS server that plays them."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enarx_attestation import Anchors, Evidence, parse, verify
from enarx_attestation.intel_collateral import answers_of, read_document
from enarx_collateral import Item, RefusedCollateral, SourceError, Store
from enarx_collateral.fetching import Result, due, failures, fetch
from enarx_collateral.item import vcek
from enarx_collateral.needs import alternatives
from enarx_collateral.sources import Sources, mirror_base
from enarx_collateral.transport import Patience, retry_after, transport

if TYPE_CHECKING:
    from conftest import Play, Vendor

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HASTY = Patience(attempts=4, first_wait=0.01, longest_wait=0.02, answer=60.0, total=120.0)
TCB_INFO = "/tdx/certification/v4/tcb?fmspc=90C06F000000"
IDENTITY = "/tdx/certification/v4/qe/identity"
PCK_CRL = "/sgx/certification/v4/pckcrl?ca=platform&encoding=der"
ROOT_CRL = "/sgx/certification/v4/rootcacrl"
CHIP = bytes(range(64)).hex()
VCEK = f"/vcek/v1/Milan/{CHIP}?blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219"


def run(
    store: Store,
    vendor: Vendor,
    wanted: Sequence[Sequence[Item]],
    *,
    patience: Patience = HASTY,
    within: timedelta = timedelta(),
    told: list[str] | None = None,
    at: datetime = NOW,
) -> list[Result]:
    async def bring() -> list[Result]:
        lines = [] if told is None else told
        async with transport(patience=patience, ca_file=str(vendor.ca_file), tell=lines.append) as carried:
            return await fetch(store, wanted, Sources.mirror(carried, vendor.url), at, within=within)

    return asyncio.run(bring())


class Intel:
    """Intel's service, played from a document of collateral."""

    def __init__(self, vendor: Vendor, play: type[Play], document: bytes, tee: str = "tdx") -> None:
        read = read_document(document)
        info, identity = answers_of(read)
        chain, list_chain = quote(read.tcb_info_issuer_chain), quote(read.pck_crl_issuer_chain)
        vendor.plays |= {
            TCB_INFO: [play(info, headers={"TCB-Info-Issuer-Chain": chain})],
            IDENTITY: [play(identity, headers={"SGX-Enclave-Identity-Issuer-Chain": chain})],
            PCK_CRL: [play(bytes.fromhex(read.pck_crl), headers={"SGX-PCK-CRL-Issuer-Chain": list_chain})],
            ROOT_CRL: [play(read.root_ca_crl.encode())],
        }


def amd_service(vendor: Vendor, play: type[Play], amd: Any) -> None:
    vendor.plays |= {
        VCEK: [play(amd.vek(amd.extensions()).der)],
        "/vcek/v1/Milan/cert_chain": [play((amd.ask.pem + amd.ark.pem).encode())],
        "/vcek/v1/Milan/crl": [play(amd.crl())],
    }


@pytest.fixture
def intel_store(tmp_path: Path, intel: Any) -> Store:
    return Store(tmp_path / "store", anchors=intel.anchors)


@pytest.fixture
def amd_store(tmp_path: Path, amd: Any) -> Store:
    return Store(tmp_path / "store", anchors=amd.anchors)


def wanted(evidence: Evidence) -> tuple[tuple[Item, ...], ...]:
    return alternatives(evidence)


def states(results: list[Result]) -> list[str]:
    return [result.state for result in results]


def assert_verified(store: Store, evidence: Evidence, anchors: Anchors) -> None:
    claims = verify(evidence, store.find(evidence, NOW), anchors, NOW)
    assert [check.id for check in claims.checks if not check.ok] == []


def test_all_that_a_quote_needs(intel_store: Store, vendor: Vendor, play: type[Play], intel: Any) -> None:
    Intel(vendor, play, intel.collateral())
    evidence = parse(intel.quote())
    assert states(run(intel_store, vendor, wanted(evidence))) == ["stored"] * 4
    assert vendor.asked == [TCB_INFO, IDENTITY, PCK_CRL, ROOT_CRL]
    assert_verified(intel_store, evidence, intel.anchors)
    assert states(run(intel_store, vendor, wanted(evidence))) == ["current"] * 4
    assert len(vendor.asked) == 4


def test_all_that_a_report_needs(amd_store: Store, vendor: Vendor, play: type[Play], amd: Any) -> None:
    amd_service(vendor, play, amd)
    evidence = parse(amd.report(), "snp")
    assert states(run(amd_store, vendor, wanted(evidence))) == ["stored"] * 3
    assert vendor.asked == [VCEK, "/vcek/v1/Milan/cert_chain", "/vcek/v1/Milan/crl"]
    assert_verified(amd_store, evidence, amd.anchors)


def test_the_key_of_a_turin_is_asked_for_with_its_fmc(tmp_path: Path, vendor: Vendor) -> None:
    item = vcek("turin", "59790fb1c39f35c1", "fmc1.bl1.tee1.snp4.ucode81")
    run(Store(tmp_path / "store"), vendor, [[item]])
    assert vendor.asked == ["/vcek/v1/Turin/59790fb1c39f35c1?fmcSPL=01&blSPL=01&teeSPL=01&snpSPL=04&ucodeSPL=81"]


def test_a_report_that_does_not_name_its_line(amd_store: Store, vendor: Vendor, play: type[Play], amd: Any) -> None:
    """The key is looked for at one line after the other."""
    amd_service(vendor, play, amd)
    genoa, milan = VCEK.replace("Milan", "Genoa"), VCEK
    evidence = parse(amd.report(version=2), "snp")
    sets = alternatives(evidence, ["genoa", "milan"])
    assert states(run(amd_store, vendor, sets)) == ["stored"] * 3
    assert vendor.asked[:2] == [genoa, milan]
    assert_verified(amd_store, evidence, amd.anchors)


def test_a_chip_that_the_service_does_not_know(amd_store: Store, vendor: Vendor, amd: Any) -> None:
    (key, *_) = run(amd_store, vendor, wanted(parse(amd.report(), "snp")))
    assert key.state == "failed"
    assert "does not have it (404)" in key.reason
    assert vendor.asked.count(VCEK) == 1


def test_a_chips_key_is_never_asked_for_twice(amd_store: Store, vendor: Vendor, play: type[Play], amd: Any) -> None:
    amd_service(vendor, play, amd)
    sets = wanted(parse(amd.report(), "snp"))
    run(amd_store, vendor, sets)
    run(amd_store, vendor, sets, within=timedelta(days=3650))
    assert vendor.asked.count(VCEK) == 1
    assert vendor.asked.count("/vcek/v1/Milan/crl") == 2
    assert {item.kind for item in due(amd_store, NOW, timedelta(days=3650))} == {"amd-crl"}


def test_throttling_is_waited_out(amd_store: Store, vendor: Vendor, play: type[Play], amd: Any) -> None:
    amd_service(vendor, play, amd)
    vendor.plays[VCEK] = [play(status=429), play(status=429, headers={"Retry-After": "0"}), *vendor.plays[VCEK]]
    told: list[str] = []
    assert states(run(amd_store, vendor, wanted(parse(amd.report(), "snp")), told=told)) == ["stored"] * 3
    assert vendor.asked.count(VCEK) == 3
    assert len([line for line in told if "429" in line and "trying again in" in line]) == 2


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_patience_ends(amd_store: Store, vendor: Vendor, play: type[Play], status: int) -> None:
    vendor.plays[VCEK] = [play(status=status)]
    (result,) = run(amd_store, vendor, [[vcek("milan", CHIP, "bl4.tee0.snp24.ucode219")]])
    assert result.state == "failed"
    assert f"answered {status}" in result.reason
    assert vendor.asked == [VCEK] * HASTY.attempts


@pytest.mark.parametrize("after", ["99999", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_a_service_that_asks_for_more_time_than_there_is(
    amd_store: Store, vendor: Vendor, play: type[Play], after: str
) -> None:
    vendor.plays[VCEK] = [play(status=429, headers={"Retry-After": after})]
    (result,) = run(amd_store, vendor, [[vcek("milan", CHIP, "bl4.tee0.snp24.ucode219")]])
    assert result.state == "failed"
    assert len(vendor.asked) == 1


def test_an_answer_that_is_cut_short_is_asked_for_again(
    amd_store: Store, vendor: Vendor, play: type[Play], amd: Any
) -> None:
    amd_service(vendor, play, amd)
    (good,) = vendor.plays[VCEK]
    vendor.plays[VCEK] = [play(good.body[:-10], lacking=10), good]
    assert states(run(amd_store, vendor, wanted(parse(amd.report(), "snp")))) == ["stored"] * 3
    assert vendor.asked.count(VCEK) == 2


def test_answers_that_are_none(amd_store: Store, vendor: Vendor, play: type[Play], amd: Any, miniatures: Any) -> None:
    """None of them stores anything, and none is asked for again and again where that cannot help."""
    good = amd.vek(amd.extensions()).der
    other = amd.vek(amd.extensions(hwid=bytes(64))).der
    forger = miniatures.issue(amd.ask.subject, miniatures.rsa_key("forger"), None, authority=True)
    forged = amd.vek(amd.extensions(), issuer=forger).der
    rows = [
        (play(b"<html>Sign in</html>"), "not a certificate", 1),
        (play(b""), "not a certificate", 1),
        (play(good + b"\0"), "not a certificate", 1),
        (play(good[:-1] + bytes([good[-1] ^ 1])), "not issued by a pinned", 1),
        (play(forged), "not issued by a pinned", 1),
        (play(other), "expected VCEK of milan chip 00010203", 1),
        (play(b"x" * 65536), "more than 16,384 bytes", 1),
        (play(b"x" * 4096, endless=True), "more than 16,384 bytes", 1),
        (play(gzip.compress(good), headers={"Content-Encoding": "gzip"}), "compressed", 1),
        (play(status=302, headers={"Location": "https://example.org/"}), "answered 302", 1),
        (play(status=301, headers={"Location": VCEK + "&x=1"}), "answered 301", 1),
        (play(status=403), "answered 403", 1),
        (play(good, lacking=1), "", HASTY.attempts),
    ]
    for one, reason, count in rows:
        vendor.plays[VCEK], vendor.asked[:] = [one], []
        (result,) = run(amd_store, vendor, [[vcek("milan", CHIP, "bl4.tee0.snp24.ucode219")]])
        assert result.state == "failed"
        assert reason in result.reason
        assert vendor.asked == [VCEK] * count
        assert amd_store.items() == []


def test_an_answer_that_drips_is_given_up(amd_store: Store, vendor: Vendor, play: type[Play], amd: Any) -> None:
    vendor.plays[VCEK] = [play(amd.vek(amd.extensions()).der, pause=0.1)]
    hasty = Patience(attempts=2, first_wait=0.01, longest_wait=0.02, answer=0.5, total=120.0)
    (result,) = run(amd_store, vendor, [[vcek("milan", CHIP, "bl4.tee0.snp24.ucode219")]], patience=hasty)
    assert result.state == "failed"
    assert "no whole answer within" in result.reason


def test_a_server_that_nobody_vouches_for(amd_store: Store, vendor: Vendor) -> None:
    async def bring() -> list[Result]:
        async with transport(patience=HASTY) as carried:
            sources = Sources.mirror(carried, vendor.url)
            return await fetch(amd_store, [[Item("amd-crl", ("milan", "vcek"))]], sources, NOW)

    (result,) = asyncio.run(bring())
    assert "certificate" in result.reason
    assert "--mirror-ca" in result.hint
    assert vendor.asked == []


def test_a_server_that_is_not_there(amd_store: Store, vendor: Vendor) -> None:
    vendor.stop()
    (result,) = run(amd_store, vendor, [[Item("amd-crl", ("milan", "vcek"))]])
    assert result.state == "failed"
    assert "import" in result.hint


def test_statements_with_damaged_issuers(intel_store: Store, vendor: Vendor, play: type[Play], intel: Any) -> None:
    good = quote(read_document(intel.collateral()).tcb_info_issuer_chain)
    signer = quote(intel.signer.pem)
    for chain in (
        {},
        *({"TCB-Info-Issuer-Chain": text} for text in ("", "%ZZ", "a%00", good[:-30], good + "x", signer)),
    ):
        Intel(vendor, play, intel.collateral())
        vendor.plays[TCB_INFO] = [play(vendor.plays[TCB_INFO][0].body, headers=chain)]
        results = run(intel_store, vendor, wanted(parse(intel.quote())))
        assert states(results)[0] == "failed"
        assert [result.item.kind for result in failures(results)] == ["tcb-info"]


def test_a_statement_about_another_family(intel_store: Store, vendor: Vendor, play: type[Play], intel: Any) -> None:
    Intel(vendor, play, intel.collateral(tcb_info=intel.tcb_info(fmspc="00906ea10000")))
    (info, *_) = run(intel_store, vendor, wanted(parse(intel.quote())))
    assert "expected TCB info of tdx for FMSPC 90c06f000000, not" in info.reason
    assert intel_store.items("tcb-info") == []


def test_an_old_answer_replaces_nothing(intel_store: Store, vendor: Vendor, play: type[Play], intel: Any) -> None:
    Intel(vendor, play, intel.collateral())
    sets = wanted(parse(intel.quote()))
    run(intel_store, vendor, sets)
    newest = intel_store.entry(sets[0][0])
    for changes in ({"tcbEvaluationDataNumber": 17}, {"issueDate": "2026-05-19T00:00:00Z"}):
        Intel(vendor, play, intel.collateral(tcb_info=intel.tcb_info(**changes)))
        (info, *_) = run(intel_store, vendor, sets, within=timedelta(days=30))
        assert info.state == "older"
        assert intel_store.entry(sets[0][0]) == newest


def test_an_answer_that_has_ended_has_failed(intel_store: Store, vendor: Vendor, play: type[Play], intel: Any) -> None:
    ended = intel.tcb_info(issueDate="2026-04-01T00:00:00Z", nextUpdate="2026-05-01T00:00:00Z")
    Intel(vendor, play, intel.collateral(tcb_info=ended))
    (info, *_) = run(intel_store, vendor, wanted(parse(intel.quote())))
    assert info.state == "failed"
    assert "does not hold at 2026-06-01" in info.reason


def test_what_ends_soon_is_due(intel_store: Store, vendor: Vendor, play: type[Play], intel: Any) -> None:
    Intel(vendor, play, intel.collateral())
    run(intel_store, vendor, wanted(parse(intel.quote())))
    soon = due(intel_store, NOW, timedelta(days=19, hours=12))
    assert [item.kind for item in soon] == ["tcb-info"]
    renewed = intel.tcb_info(issueDate="2026-05-31T00:00:00Z", nextUpdate="2026-06-30T00:00:00Z")
    Intel(vendor, play, intel.collateral(tcb_info=renewed))
    assert states(run(intel_store, vendor, [soon], within=timedelta(days=19, hours=12))) == ["stored"]
    assert due(intel_store, NOW, timedelta(days=19, hours=12)) == []


def test_what_no_service_gives(amd_store: Store, vendor: Vendor) -> None:
    (result,) = run(amd_store, vendor, [[Item("vlek", ("milan", "bl4.tee0.snp24.ucode219", "ab" * 32))]])
    assert "no service gives it" in result.reason
    assert vendor.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "http://pccs.example",
        "pccs.example",
        "https://",
        "https://u:p@h/",
        "https://h/?q",
        "https://h/#f",
        "https://[::",
    ],
)
def test_addresses_that_are_no_mirror(url: str) -> None:
    with pytest.raises(SourceError):
        mirror_base(url)


def test_a_mirror_below_a_path() -> None:
    assert mirror_base("https://pccs.example.org:8081/kds/") == "https://pccs.example.org:8081/kds"


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(max_size=60) | st.from_regex(r"[0-9]{1,40}", fullmatch=True) | st.just("Wed, 21 Oct 9999 99:99:99 GMT"))
def test_any_header_asks_for_a_number_of_seconds(value: str) -> None:
    assert 0 <= retry_after(value, NOW) < 1e13


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("120", 120), ("Mon, 01 Jun 2026 00:00:30 GMT", 30), ("Sun, 31 May 2026 00:00:00 GMT", 0), (None, 0), ("-1", 0)],
)
def test_how_long_to_wait(value: str | None, seconds: float) -> None:
    assert retry_after(value, NOW) == seconds


@settings(max_examples=150, deadline=None, derandomize=True)
@given(chain=st.binary(max_size=300), data=st.binary(max_size=300))
def test_any_answer_is_refused_by_name(tmp_path_factory: pytest.TempPathFactory, chain: bytes, data: bytes) -> None:
    store = Store(tmp_path_factory.getbasetemp() / "never-made")
    for kind in ("vcek", "vlek", "amd-chain", "amd-crl", "tcb-info", "qe-identity", "pck-crl", "root-crl", "cca-key"):
        with pytest.raises(RefusedCollateral):
            store.put(kind, data, chain=chain)
    assert not store.directory.exists()
