"""SGX's structures, against what Enarx makes of the same key, and against OpenSSL's arithmetic."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx_measurement import MeasurementFault, load_sgx, sgx_digest
from enarx_measurement.sgx_enclave import PAGE, Page, PageFlags, Unmeasured, mrenclave
from enarx_measurement.sgx_sigstruct import Body, body, read, sign

ANSWERS = Path(__file__).parent / "known_answers"

MRENCLAVE = "7cffc3b4f639db733b62f0d4af8fa66228eea02f8ce609b4f3f6c46ea99f707f"
# The enclave that Enarx signs in its own tests: 64 bit, legacy registers, product 0xea00, version 1.
ENARX_BODY = Body(
    0, 0, 0, 0, bytes(16),
    struct.pack("<QQ", 4, 3), struct.pack("<QQ", 4, 3),
    bytes.fromhex(MRENCLAVE), bytes(16), 0xEA00, 1,
)  # fmt: skip
ENARX_SIGSTRUCT = "aee7ea06d434fbeae7e3e322358b72eae1f34170a5841f66c417abf3c2e2f9ec"


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "enclave.key"
    path.write_bytes((ANSWERS / "enarx-sgx.key").read_bytes())
    path.chmod(0o600)
    return load_sgx(path)


def test_a_keys_digest_is_that_of_enarx(key):
    assert sgx_digest(key) == "298037d88782e022e019b3020745b78aa40ed95c77da4bf7f3253d3a44c4fd7e"


def test_the_sigstruct_of_enarxs_test_is_made_byte_for_byte(key):
    made = sign(ENARX_BODY, key)
    assert len(made) == 1808
    # Where Enarx's test has the signature, Q1 and the end of Q2.
    assert made[516:].startswith(bytes.fromhex("ad958ae85992e5db2bc860a050f68c5a"))
    assert made[1040:].startswith(bytes.fromhex("0da9ff54cf2d687e20332f1618440c60"))
    assert made.endswith(bytes.fromhex("e1732626 64e143d2 8f394b93 9dd169d5 759f3c"))
    assert hashlib.sha256(made).hexdigest() == ENARX_SIGSTRUCT


def test_what_was_signed_is_read_back(key):
    found = read(sign(ENARX_BODY, key, date=0x20261126, sw_defined=5))
    assert found.body == ENARX_BODY
    assert found.modulus == key.public_key().public_numbers().n


def test_the_cpus_numbers_are_the_quotients_of_the_signature(key):
    """The CPU checks s^3 mod n without dividing: s^2 = q1 n + r and s r = q2 n + s^3 mod n."""
    made = sign(ENARX_BODY, key)
    n, s, q1, q2 = (int.from_bytes(made[at : at + 384], "little") for at in (128, 516, 1040, 1424))
    rest = s * s - q1 * n
    assert 0 <= rest < n
    assert 0 <= s * rest - q2 * n < n
    assert s * rest - q2 * n == pow(s, 3, n)


@pytest.mark.parametrize("at", [0, 20, 127, 200, 520, 901, 930, 1000], ids=lambda at: f"byte-{at}")
def test_a_changed_byte_is_refused(key, at):
    made = bytearray(sign(ENARX_BODY, key))
    made[at] ^= 1
    with pytest.raises(MeasurementFault):
        read(bytes(made))


@given(st.binary(max_size=2000))
def test_what_is_no_sigstruct_is_refused(data):
    with pytest.raises(MeasurementFault):
        read(data)


@pytest.mark.parametrize(("attributes", "mask", "debug"), [(4, 6, False), (6, 6, True), (4, 4, True)])
def test_an_enclave_that_may_be_debugged_is_known(attributes, mask, debug):
    found = ENARX_BODY._replace(
        attributes=struct.pack("<QQ", attributes, 3), attribute_mask=struct.pack("<QQ", mask, 3)
    )
    assert body(found.encode()).debug is debug


def test_reserved_bits_are_refused():
    data = bytearray(ENARX_BODY.encode())
    data[10] = 1
    with pytest.raises(MeasurementFault, match="reserved"):
        body(bytes(data))


def test_an_enclave_of_one_page_measures_to_the_records_of_the_manual():
    content = bytes(range(256)) * 16
    expected = hashlib.sha256()
    expected.update(b"ECREATE\0" + (1).to_bytes(4, "little") + (0x2000).to_bytes(8, "little") + bytes(44))
    expected.update(b"EADD\0\0\0\0" + (0x1000).to_bytes(8, "little") + (0x203).to_bytes(8, "little") + bytes(40))
    for at in range(0x1000, 0x2000, 256):
        expected.update(b"EEXTEND\0" + at.to_bytes(8, "little") + bytes(48) + bytes(range(256)))
    flags = PageFlags.REG | PageFlags.R | PageFlags.W
    assert mrenclave(0x2000, 1, [Page(0x1000, flags, content)]) == expected.digest()


def test_a_page_whose_content_is_not_measured_counts_all_the_same():
    pages = [Page(0, PageFlags.REG | PageFlags.R, None)]
    assert mrenclave(0x2000, 1, pages) != mrenclave(0x2000, 1, [])
    assert mrenclave(0x2000, 1, pages) != mrenclave(0x2000, 1, [Page(0, PageFlags.REG | PageFlags.R, bytes(PAGE))])


def test_pages_in_a_row_count_as_each_of_them_does():
    flags = PageFlags.REG | PageFlags.R
    places = range(0x1000, 0x200_0000, PAGE)
    each = [Page(at, flags, None) for at in places]
    assert mrenclave(0x200_0000, 1, [Unmeasured(places, flags)]) == mrenclave(0x200_0000, 1, each)
    assert mrenclave(0x2000, 1, [Unmeasured(range(0), flags)]) == mrenclave(0x2000, 1, [])


@pytest.mark.parametrize(
    ("size", "pages"),
    [(0x3000, []), (0, []), (0x2000, [Page(0x2000, PageFlags.REG, None)]), (0x2000, [Page(8, PageFlags.REG, None)]),
     (0x2000, [Page(0, PageFlags.REG, b"short")]), (0x2000, [Unmeasured(range(0, 0x3000, PAGE), PageFlags.REG)])],
    ids=["no-power-of-two", "empty", "page-outside", "page-not-aligned", "page-cut-short", "pages-beyond-the-end"],
)  # fmt: skip
def test_an_enclave_that_no_cpu_would_build_is_refused(size, pages):
    with pytest.raises(MeasurementFault):
        mrenclave(size, 1, pages)
