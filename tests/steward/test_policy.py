"""The policy file: strict, and without one nothing is accepted."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from ipaddress import ip_address

import pytest

from enarx_steward import grants, policy
from enarx_steward.errors import ConfigurationError
from enarx_steward.workload import Workload

CA = '[ca]\ntrust_domain = "example.org"\n'
DIGEST = "sha256:" + "ab" * 32
RULE_HEAD = '[[grant]]\nnames = ["a"]\n'
NIL = '[nil]\nany_workload = true\nnames = ["localhost"]\n'


def fault(text: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        policy.parse(text.encode())
    return caught.value


def test_a_policy_says_what_is_accepted_and_what_is_given():
    text = CA + 'audience = "https://steward.example.org/"\n' + NIL.replace('"localhost"', '"a.example", "::1"')
    found = policy.parse(text.encode())
    assert found.accepts("nil")
    assert not found.accepts("kvm")
    assert found.grants["nil"] == grants.Grant(
        dns_names=("a.example",), addresses=(ip_address("::1"),), lifetime=timedelta(hours=24)
    )
    assert found.trust_domain == "example.org"
    assert found.audience == "https://steward.example.org"
    assert found.sha256 == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60), ("90m", 5400), ("12h", 43200), ("7d", 604800), ("604800s", 604800)]
)
def test_lifetimes(text, seconds):
    found = policy.parse(f'{CA}{NIL}lifetime = "{text}"\n'.encode())
    assert found.grants["nil"].lifetime == timedelta(seconds=seconds)


@pytest.mark.parametrize("lifetime", ['"59s"', '"8d"', '"169h"', '"0h"', '"24"', '"1.5h"', '"-1h"', "24", "true", '""'])
def test_lifetimes_that_are_none_or_too_long_are_refused(lifetime):
    assert "`nil.lifetime`" in str(fault(f"{CA}{NIL}lifetime = {lifetime}\n"))


@pytest.mark.parametrize(
    "names",
    [
        "[]",
        '"localhost"',
        '["*.example.org"]',
        '["LOCALHOST"]',
        '["a b"]',
        '["-a"]',
        '["a..b"]',
        '[""]',
        '["localhost\\n"]',
        '["spiffe://x"]',
        '["1.2.3"]',
        "[1]",
        '["localhost", "localhost"]',
        '["127.0.0.1/8"]',
        str(["a" * 64]),
    ],
)
def test_names_that_are_none_are_refused(names):
    assert "`nil.names`" in str(fault(CA + NIL.replace('["localhost"]', names)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "[ca]"),
        (NIL, "[ca]"),
        (CA, "accepts nothing"),
        ("[ca]\n" + NIL, "`ca.trust_domain`"),
        ('[ca]\ntrust_domain = "Example Org"\n' + NIL, "`ca.trust_domain`"),
        (CA + "audience = 1\n" + NIL, "`ca.audience`"),
        (CA + 'audience = "ftp://x"\n' + NIL, "`ca.audience`"),
        (CA + "evidence_in_certificate = 1\n" + NIL, "`ca.evidence_in_certificate`"),
        (CA + 'names = ["x"]\n' + NIL, "unknown key `ca.names`"),
        (CA + NIL + "any_workloads = true\n", "unknown key `nil.any_workloads`; did you mean `nil.any_workload`?"),
        (CA + NIL + "accept = true\n", "unknown key `nil.accept`"),
        (CA + NIL.replace("[nil]", "[nill]"), "unknown key `nill`; did you mean `nil`?"),
        ("nil = true\n" + CA, "`nil` must be a section"),
        ("[[ca]]\n" + NIL, "`ca` must be a section"),
        (CA + '[nil]\nnames = ["localhost"]\n', "constrains no workload"),
        (CA + NIL.replace("true", '"yes"'), "any_workload"),
        (CA + NIL + 'packages = ["sha256:00"]\n', "packages"),
        (CA + "[nil]\nany_workload = true\n", "`nil.names`"),
        (CA + 'minimum_lifetime = "0s"\n' + NIL, "`ca.minimum_lifetime`"),
        (CA + "renewal_grace = 1\n" + NIL, "`ca.renewal_grace`"),
        (CA + NIL + '[collateral]\nendorsements = "all"\n', "`collateral.endorsements`"),
        (CA + NIL + '[collateral]\nstore = "here"\n', "`collateral.store`"),
        (CA + NIL + "[collateral]\nfetched = true\n", "unknown key `collateral.fetched`"),
        (
            CA + NIL + '[packages]\nsigners = ["-----BEGIN PUBLIC KEY-----"]\n',
            "`packages.signers`: `signers`: Expected `object`, got `str`",
        ),
        (CA + NIL + '[packages]\nallow = ["ab"]\n', "`packages.allow`"),
        (CA + NIL + '[packages]\ndeny = "ab"\n', "`packages.deny`"),
        (CA + NIL + f'[packages]\nallow = ["{DIGEST}"]\ndeny = ["{DIGEST}"]\n', "both in `packages.allow`"),
        (CA + NIL + "[packages]\nalow = []\n", "did you mean `packages.allow`?"),
        (CA + NIL + "grant = 1\n", "unknown key `nil.grant`"),
        ("grant = 1\n" + CA + NIL, "`grant` must be sections [[grant]]"),
        (CA + NIL + '[[grant]]\nnames = ["a"]\n', "is for nothing in particular"),
        (CA + NIL + f'[[grant]]\npackage = "{DIGEST}"\n', "`grant.0.names`"),
        (CA + NIL + '[[grant]]\nnames = ["a"]\npackage = "ab"\n', "`grant.0.package`"),
        (CA + NIL + '[[grant]]\nnames = ["a"]\nsigner = "XY"\n', "`grant.0.signer`"),
        (CA + NIL + '[[grant]]\nnames = ["a"]\nkind = "snp"\n', "there is no section [snp]"),
        (CA + NIL + '[[grant]]\nnames = ["a"]\npakage = "ab"\n', "did you mean `grant.0.package`?"),
        ("[ca", "not TOML"),
        (CA + NIL + NIL, "not TOML"),
    ],
)
def test_faults_name_the_key(text, message):
    assert message in str(fault(text))


@pytest.mark.parametrize(
    ("text", "what_to_do"),
    [
        ("[ca", "in a line of its own"),
        ("grant = 1\n" + CA + NIL, "two brackets"),
        ("secret = 1\n" + CA + NIL, "two brackets"),
        (CA + NIL.replace("localhost", "Local Host"), 'such as "app.example.org"'),
        (CA + NIL.replace('"localhost"', '"::1", "0::1"'), "name each once"),
        (CA + "audience = 1\n" + NIL, "such as audience ="),
        (CA + "evidence_in_certificate = 1\n" + NIL, "without quotes"),
        (CA + NIL + '[collateral]\nstore = "here"\n', "such as store ="),
        (CA + NIL + "[log]\ndatabase = 1\n", "such as database ="),
        (CA + NIL + '[log]\npublic = "true"\n', "without quotes"),
        (CA + NIL + '[limits]\nburst = "8"\n', "without quotes"),
        (CA + NIL + '[limits]\ntrusted_proxies = "10.0.0.7"\n', "such as trusted_proxies ="),
        (CA + NIL + '[packages]\ndeny = "ab"\n', "`enarx-deploy package` prints the digest"),
        (CA + NIL + f'[packages]\nallow = ["{DIGEST}"]\ndeny = ["{DIGEST}"]\n', "out of one of them"),
    ],
)
def test_faults_say_what_to_do(text, what_to_do):
    assert what_to_do in fault(text).hint


def test_sections_of_enarx_are_read_in_its_own_words_with_a_grant_beside_them():
    hash_ = "ab" * 48
    found = policy.parse(f'{CA}[snp]\nhash = ["{hash_}"]\nabi = "1.51"\nnames = ["localhost"]\n'.encode())
    assert found.accepts("snp")
    assert found.appraisal.snp.measurements == (hash_,)


def test_a_mark_of_the_byte_order_is_passed_over(tmp_path):
    file = tmp_path / "steward.toml"
    file.write_bytes(b"\xef\xbb\xbf" + (CA + NIL).encode())
    file.chmod(0o600)
    assert policy.load(file).accepts("nil")
    file.write_bytes(b"\xef\xbb\xbf" + (CA + NIL).replace("any_workload", "any_workloads").encode())
    with pytest.raises(ConfigurationError, match=rf"{file}:[0-9]+: .*any_workloads"):
        policy.load(file)


RULE = '[[grant]]\npackage = "sha256:' + "ab" * 32 + '"\nnames = ["shop.example.org"]\n'


def test_the_first_rule_that_fits_goes_before_the_names_of_the_section():
    measured = '[[grant]]\nkind = "snp"\nmeasurement = "' + "cd" * 48 + '"\nnames = ["measured.example"]\n'
    signed = '[[grant]]\nsigner = "' + "ef" * 48 + '"\nnames = ["signed.example"]\nlifetime = "2h"\n'
    snp = '[snp]\nany_workload = true\nnames = ["default.example"]\n'
    found = policy.parse((CA + snp + RULE + measured + signed).encode())

    def names(**fields):
        return found.grant(Workload(kind="snp", **fields)).dns_names

    package = "sha256:" + "ab" * 32
    assert names(package=package, signers=("ef" * 48,)) == ("shop.example.org",)
    assert names(measurement="cd" * 48) == ("measured.example",)
    assert names(signers=("00" * 48, "ef" * 48)) == ("signed.example",)
    assert names(package="sha256:" + "cd" * 32) == ("default.example",)
    assert found.grant(Workload(kind="snp", signers=("ef" * 48,))).lifetime == timedelta(hours=2)
    assert {name for grant in found.every_grant for name in grant.dns_names} == {
        "default.example", "shop.example.org", "measured.example", "signed.example",
    }  # fmt: skip


def test_with_rules_a_section_needs_no_names_and_gives_none():
    found = policy.parse((CA + "[nil]\nany_workload = true\n" + RULE).encode())
    assert found.grant(Workload(kind="nil")) is None
    assert found.grant(Workload(kind="nil", package="sha256:" + "ab" * 32)) is not None


def test_a_policy_of_enarxs_is_read_key_by_key_with_its_meaning():
    """Every key of its `steward.toml`, with what our own policy asks for beside them."""
    text = f"""
[ca]
trust_domain = "example.org"

[sgx]
names = ["localhost"]
signer = ["{"AA" * 32}"]
hash = ["{"01" * 32}"]
hash_blacklist = ["{"02" * 32}"]
features = ["CET", "KSS"]
enclave_security_version = 2
enclave_product_id = 3
misc_select = ["EXINFO"]
allowed_advisories = ["INTEL-SA-00615"]

[snp]
names = ["localhost"]
signer = ["{"03" * 48}"]
hash = ["{"04" * 48}"]
hash_blacklist = ["{"05" * 48}"]
id_key_digest = ["{"06" * 48}"]
id_key_digest_blacklist = ["{"07" * 48}"]
abi = "1.51"
policy_flags = ["SMT", "SingleSocket"]
platform_info_flags = "SME"
"""
    found = policy.parse(text.encode()).appraisal
    sgx, snp = found.sgx, found.snp
    assert (sgx.mrsigners, sgx.mrenclaves, sgx.deny_mrenclaves) == (("aa" * 32,), ("01" * 32,), ("02" * 32,))
    assert (sgx.cet, sgx.kss, sgx.debug, sgx.einittoken_key, sgx.provision_key) == (
        "any", "any", "forbid", "forbid", "forbid",
    )  # fmt: skip
    assert (sgx.minimum_isv_svn, sgx.isv_prod_ids, sgx.misc_select) == (2, (3,), ("00000000", "01000000"))
    assert (sgx.allow_advisories, sgx.accept_statuses) == (("INTEL-SA-00615",), ("UpToDate",))
    assert (snp.author_keys, snp.measurements, snp.deny_measurements) == (("03" * 48,), ("04" * 48,), ("05" * 48,))
    assert (snp.id_keys, snp.deny_id_keys, snp.minimum_abi) == (("06" * 48,), ("07" * 48,), "1.51")
    assert (snp.guest_policy.debug, snp.guest_policy.smt, snp.guest_policy.single_socket) == (
        "forbid", "any", "require",
    )  # fmt: skip
    assert (snp.platform_info.smt, snp.platform_info.tsme) == ("require", "forbid")


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"a = " + b"[" * 5000, b"a = " + b"9" * 5000],
    ids=["not-text", "nested-too-deeply", "number-too-long"],
)
def test_what_cannot_be_read_is_refused(content, tmp_path):
    with pytest.raises(ConfigurationError, match="not TOML"):
        policy.parse(content)
    (tmp_path / "policy.toml").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"policy\.toml: not TOML"):
        policy.load(tmp_path / "policy.toml")


def test_the_policy_of_a_users_own_machine_says_aloud_that_nil_keeps_have_no_protection():
    text = policy.for_this_machine(written_by="enarx-deploy")
    found = policy.parse(text.encode())
    assert list(found.grants) == ["nil", "kvm"]
    assert "no hardware protection" in text
    assert {grant.lifetime for grant in found.grants.values()} == {timedelta(hours=24)}


def test_without_a_file_no_steward_starts(run, state):
    (state / "steward.toml").unlink()
    ended = run()
    assert ended.returncode == 1
    assert "there is no policy, and without one nothing is accepted" in ended.stderr
    assert "--init" in ended.stderr
    assert not (state / "ca.key").exists()


def test_a_directory_that_is_not_there_is_not_made_for_a_steward_that_does_not_start(run, state):
    ended = run("--state", str(state.parent / "mistyped"))
    assert (ended.returncode, "there is no policy" in ended.stderr) == (1, True), ended.stderr
    assert not (state.parent / "mistyped").exists()


def test_a_file_that_others_can_write_is_refused(run, state):
    (state / "steward.toml").chmod(0o666)
    ended = run()
    assert ended.returncode == 1
    assert "others can write to the policy" in ended.stderr
    assert f"chmod go-w {state / 'steward.toml'}" in ended.stderr


def test_a_fault_names_the_file(run, state):
    (state / "steward.toml").write_text("[ca]\n")
    assert f"{state / 'steward.toml'}:1: `ca.trust_domain`" in run().stderr


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (CA + NIL + "any_workloads = true\n", 6),
        (CA + NIL + 'lifetime = "1y"\n', 6),
        (CA + "[nil]\nany_workload = true\n", 3),
        (CA + NIL + "\n[nill]\n", 7),
        (CA + NIL + "\n[packages]\n# comment\nsigners = ['x']\n", 9),
        (CA + NIL + RULE_HEAD + 'package = "ab"\n' + RULE_HEAD + 'package = "cd"\n', 8),
        (CA + NIL + '[snp]\nnames = ["a"]\nmeasurements = ["ab"]\n', 8),
        (CA + NIL + '[snp]\nnames = ["a"]\nhash = ["ab"]\n', 6),
        (CA + NIL + "[snp]\nnames = ['a']\nany_workload = true\nvmpl = ['0']\n", 9),
    ],
    ids=["unknown", "value", "missing", "section", "comment", "rule", "of-the-library", "enarxs", "type"],
)
def test_a_fault_names_the_line(tmp_path, text, line):
    path = tmp_path / "steward.toml"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError) as caught:
        policy.load(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")


def test_a_policy_elsewhere(start, tmp_path, keep):
    elsewhere = tmp_path / "other.toml"
    elsewhere.write_text('[ca]\ntrust_domain = "b"\n[nil]\nany_workload = true\nnames = ["only.example"]\n')
    steward = start("--policy", str(elsewhere)).client
    leaf, *_ = steward.certify(keep)
    assert leaf.subject.rfc4514_string().startswith("CN=only.example")


def test_a_name_too_long_for_a_subject_is_left_to_the_alternative_names(start, keep):
    long = ".".join(["a" * 40] * 3)
    steward = start(policy=f'[ca]\ntrust_domain = "a"\n[nil]\nany_workload = true\nnames = ["{long}"]\n').client
    leaf, *_ = steward.certify(keep)
    assert leaf.subject.rfc4514_string() == "OU=nil Keep: no hardware protection"
