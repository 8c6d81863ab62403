"""How many requests one address may make, and who is meant by an address."""

from __future__ import annotations

import contextlib
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx_service.rate_limit import Limits, RateLimit, as_address, client_of
from enarx_steward import database, policy
from enarx_steward.errors import ConfigurationError
from enarx_steward.issuance_log import IssuanceLog

from .conftest import POLICY

LOCAL = f"{POLICY}\n[limits]\nrequests_per_minute = 1\nburst = 4\n"
ONE_A_SECOND = Limits(requests_per_minute=60, burst=3)
A, B = ip_address("192.0.2.1"), ip_address("192.0.2.2")
PROXIES = (ip_network("127.0.0.1"), ip_network("10.0.0.0/8"))


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def rate(clock):
    return RateLimit(monotonic=clock)


def test_as_many_as_the_burst_come_through_and_then_as_many_as_the_rate(rate, clock):
    assert [rate.take(A, ONE_A_SECOND) for _ in range(4)] == [0, 0, 0, 1]
    clock.now += 1
    assert [rate.take(A, ONE_A_SECOND) for _ in range(2)] == [0, 1]
    clock.now += 0.75
    assert rate.take(A, ONE_A_SECOND) == 0.25
    clock.now += 1000
    assert [rate.take(A, ONE_A_SECOND) for _ in range(4)] == [0, 0, 0, 1]


def test_to_be_refused_costs_nothing(rate, clock):
    assert [bool(rate.take(A, ONE_A_SECOND)) for _ in range(100)] == [False] * 3 + [True] * 97
    clock.now += 1
    assert rate.take(A, ONE_A_SECOND) == 0


def test_each_address_has_its_own_bucket_and_of_ipv6_each_64(rate):
    one = Limits(requests_per_minute=1, burst=1)
    addresses = [A, B, *map(ip_address, ("2001:db8:0:1::1", "2001:db8:0:2::1", "::c000:201", "::ffff:0:0:1"))]
    assert [rate.take(address, one) for address in addresses] == [0] * 5 + [60]
    assert rate.take(ip_address("2001:db8:0:1:ffff::2"), one) == 60


def test_an_ipv4_client_of_an_ipv6_socket_has_one_address():
    assert as_address("::ffff:192.0.2.1") == A


def test_another_policy_counts_at_once(rate, clock):
    for _ in range(3):
        rate.take(A, ONE_A_SECOND)
    assert rate.take(A, Limits(requests_per_minute=60, burst=4)) == 0
    assert rate.take(A, Limits(requests_per_minute=6000, burst=1)) > 3


def test_of_too_many_addresses_the_one_that_asked_least_recently_is_forgotten(clock):
    rate, one = RateLimit(capacity=2, monotonic=clock), Limits(requests_per_minute=1, burst=1)
    third = ip_address("192.0.2.3")
    rate.take(A, one)
    rate.take(B, one)
    assert rate.take(A, one) == 60  # refused, and remembered all the same
    assert rate.take(third, one) == 0
    assert rate.take(A, one) == 60
    assert rate.take(B, one) == 0


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("", "127.0.0.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("203.0.113.9, 192.0.2.1", "192.0.2.1"),
        ("203.0.113.9,192.0.2.1 , 10.1.2.3", "192.0.2.1"),
        ("10.9.9.9,10.1.2.3", "10.9.9.9"),
        ("192.0.2.1,unknown", "127.0.0.1"),
        ("192.0.2.1,unknown,10.1.2.3", "10.1.2.3"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("192.0.2.1," + "10.0.0.1," * 20 + "10.0.0.2", "10.0.0.1"),
    ],
)
def test_behind_trusted_proxies_the_last_address_that_is_not_theirs_counts(forwarded, client):
    assert client_of(ip_address("127.0.0.1"), forwarded, PROXIES) == ip_address(client)


@given(st.text(alphabet="0123456789.,: []af", max_size=60))
def test_whoever_is_not_trusted_says_what_it_likes(forwarded):
    assert client_of(A, forwarded, PROXIES) is A


@given(st.text(max_size=200))
def test_what_a_client_says_before_a_trusted_proxy_is_not_heard(said):
    assert client_of(ip_address("127.0.0.1"), f"{said},{B}", PROXIES) == B


def test_a_steward_that_is_asked_too_often_says_when_to_come_back(start, keep):
    steward = start(policy=LOCAL).client
    answers = [steward.http.post(f"{steward.url}/v1/nonce") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429]
    refused = answers[-1]
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "rate"
    assert 50 < int(refused.headers["retry-after"]) <= 60
    enarx = steward.enarx(keep.request())
    assert (enarx.status_code, enarx.content) == (429, b"")
    assert 50 < int(enarx.headers["retry-after"]) <= 60


def test_a_monitor_is_answered_however_often_it_asks(start):
    steward = start(policy=LOCAL).client
    for path in ("/", "/v1/health"):
        assert {steward.http.get(steward.url + path).status_code for _ in range(8)} == {200}
    assert steward.http.get(f"{steward.url}/v1/info").status_code == 200


def test_refusals_beyond_the_rate_are_not_logged(start, keep):
    running = start(policy=LOCAL)
    evidence = keep.evidence(b"n" * 32, "elsewhere")
    answers = [running.client.ask(keep.request(), b"n" * 32, evidence).status_code for _ in range(6)]
    assert answers == [403] * 4 + [429] * 2
    assert running.end() == 0
    with contextlib.closing(database.open_for(running.state, "")) as opened:
        assert IssuanceLog(opened).head().seq == 4


def test_the_own_machine_is_not_limited_unless_the_policy_says_so(steward):
    asked = Limits().burst + 20
    assert {steward.http.get(f"{steward.url}/v1/info").status_code for _ in range(asked)} == {200}


def test_behind_a_proxy_that_the_policy_trusts_each_client_is_limited(start):
    proxies = LOCAL + 'trusted_proxies = ["127.0.0.1"]\n'
    steward = start(policy=proxies).client

    def ask(forwarded: str) -> int:
        return steward.http.get(f"{steward.url}/v1/info", headers={"X-Forwarded-For": forwarded}).status_code

    assert [ask(f"{number}.0.0.1, 192.0.2.1") for number in range(1, 6)] == [200] * 4 + [429]
    assert ask("192.0.2.1, 192.0.2.2") == 200


def test_without_a_trusted_proxy_the_header_is_ignored(start):
    steward = start(policy=LOCAL).client
    answers = [
        steward.http.get(f"{steward.url}/v1/info", headers={"X-Forwarded-For": f"192.0.2.{number}"}).status_code
        for number in range(5)
    ]
    assert answers == [200] * 4 + [429]


def test_a_policy_says_how_often():
    text = f'{LOCAL}trusted_proxies = ["127.0.0.1", "2001:db8::/32"]\n'
    networks = (ip_network("127.0.0.1"), ip_network("2001:db8::/32"))
    expected = Limits(requests_per_minute=1, burst=4, trusted_proxies=networks, own_machine=True)
    assert policy.parse(text.encode()).limits == expected
    assert policy.parse(POLICY.encode()).limits == Limits()


@pytest.mark.parametrize(
    "line",
    [
        "requests_per_minute = 0",
        "requests_per_minute = true",
        'requests_per_minute = "1"',
        "burst = 0",
        "burst = 1.5",
        "burst = 1000001",
        'trusted_proxies = "127.0.0.1"',
        'trusted_proxies = ["localhost"]',
        'trusted_proxies = ["10.0.0.1/8"]',
        "trusted_proxies = [1]",
        f"trusted_proxies = {['10.0.0.1'] * 65}",
        "rate = 1",
    ],
)
def test_limits_that_are_none_are_refused(line):
    key = line.partition(" ")[0]
    with pytest.raises(ConfigurationError, match=rf"`limits\.{key}`"):
        policy.parse(f"{POLICY}\n[limits]\n{line}\n".encode())
