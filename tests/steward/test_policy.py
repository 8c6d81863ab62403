"""The policy file: strict, and without one nothing is accepted."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from ipaddress import ip_address

import pytest

from enarx_steward import policy
from enarx_steward.errors import ConfigurationError

CA = '[ca]\ntrust_domain = "example.org"\n'
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
    assert found.grant("nil") == policy.Grant(
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
    assert found.grant("nil").lifetime == timedelta(seconds=seconds)


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
        ("[ca", "not TOML"),
        (CA + NIL + NIL, "not TOML"),
    ],
)
def test_faults_name_the_key(text, message):
    assert message in str(fault(text))


def test_sections_of_enarx_are_read_in_its_own_words_with_a_grant_beside_them():
    hash_ = "ab" * 48
    found = policy.parse(f'{CA}[snp]\nhash = ["{hash_}"]\nabi = "1.51"\nnames = ["localhost"]\n'.encode())
    assert found.accepts("snp")
    assert found.appraisal.snp.measurements == (hash_,)


def test_what_is_not_text_is_refused():
    with pytest.raises(ConfigurationError, match="not TOML"):
        policy.parse(b"\xff\xfe")


def test_the_policy_of_a_users_own_machine_says_aloud_that_nil_keeps_have_no_protection():
    text = policy.for_this_machine(written_by="enarx-deploy")
    found = policy.parse(text.encode())
    assert list(found.grants) == ["nil"]
    assert "no hardware protection" in text
    assert found.grant("nil").lifetime == timedelta(hours=24)


def test_without_a_file_no_steward_starts(run, state):
    (state / "steward.toml").unlink()
    ended = run()
    assert ended.returncode == 1
    assert "there is no policy, and without one nothing is accepted" in ended.stderr
    assert "--init" in ended.stderr
    assert not (state / "ca.key").exists()


def test_a_file_that_others_can_write_is_refused(run, state):
    (state / "steward.toml").chmod(0o666)
    ended = run()
    assert ended.returncode == 1
    assert "others can write to the policy" in ended.stderr
    assert f"chmod go-w {state / 'steward.toml'}" in ended.stderr


def test_a_fault_names_the_file(run, state):
    (state / "steward.toml").write_text("[ca]\n")
    assert f"{state / 'steward.toml'}: `ca.trust_domain`" in run().stderr


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
