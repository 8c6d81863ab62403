"""`python -m benches.steward_load PORT CERTIFICATE SECONDS CLIENTS AUDIENCE`: Keeps that ask for certificates.

Each of CLIENTS connections asks for a challenge and answers it, again and again. Keys and their requests are made
before the first; what is left to do for a certificate is its evidence and the reading of the answer. Prints as JSON how
many there were, in what time, and the time of each, beside the CPU time that all of it took here.
"""

from __future__ import annotations

import argparse
import socket
import ssl
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from enarx_attestation import report_data

PACKAGE = "sha256:" + "ab" * 32
MOST = 600
"""Requests that are made beforehand for each second: more than any Steward issues here."""


class Found(msgspec.Struct):
    """What came of it: seconds altogether, those of each certificate, and of CPU time."""

    seconds: float
    times: list[float]
    cpu: float


class Challenge(msgspec.Struct):
    """What `/v1/nonce` answers."""

    nonce: bytes


class Issued(msgspec.Struct):
    """What `/v1/certificate` answers."""

    chain: tuple[bytes, ...]


class Keep:
    """A key's encoding, and a request for it in base64."""

    def __init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        self.spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.csr = b64encode(builder.sign(key, SHA256()).public_bytes(Encoding.DER)).decode()

    def answer(self, nonce: bytes, audience: str) -> bytes:
        """The body that answers a challenge, as a Keep without hardware does."""
        data = report_data(purpose="tls-server", nonce=nonce, spki=self.spki, package=PACKAGE, audience=audience)
        document = f'{{"kind":"nil","package":"{PACKAGE}","report_data":"{data.hex()}"}}'
        evidence = {"kind": "nil", "data": b64encode(document.encode()).decode()}
        return msgspec.json.encode({"csr": self.csr, "nonce": b64encode(nonce).decode(), "evidence": evidence})


class Client:
    """A connection that is kept."""

    def __init__(self, port: int, certificate: str) -> None:
        context = ssl.create_default_context(cafile=certificate)
        context.check_hostname = False
        plain = socket.create_connection(("127.0.0.1", port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = context.wrap_socket(plain)
        self._host = f"127.0.0.1:{port}"

    def post(self, path: str, body: bytes) -> bytes:
        """The body of the answer, which must be 200."""
        head = f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
        self._socket.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = b""
        while not (split := answer.find(b"\r\n\r\n")) >= 0:
            answer += self._receive()
        fields = answer[:split].lower()
        assert fields.startswith(b"http/1.1 200"), answer.decode(errors="replace")
        length = int(fields.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(answer) < split + 4 + length:
            answer += self._receive()
        return answer[split + 4 :]

    def _receive(self) -> bytes:
        data = self._socket.recv(65_536)
        assert data, "the Steward closed the connection"
        return data


def main() -> None:
    """Put the load on, and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m benches.steward_load")
    for name, kind in (("port", int), ("certificate", str), ("seconds", float), ("clients", int), ("audience", str)):
        parser.add_argument(name, type=kind)
    asked = parser.parse_args()
    keeps = iter([Keep() for _ in range(int(MOST * asked.seconds))])
    connections = [Client(asked.port, asked.certificate) for _ in range(asked.clients)]
    begin, cpu = time.perf_counter(), time.process_time()
    end = begin + asked.seconds
    with ThreadPoolExecutor(asked.clients) as pool:
        running = [pool.submit(certify, client, keeps, asked.audience, end) for client in connections]
        times = [one for future in running for one in future.result()]
    found = Found(time.perf_counter() - begin, times, time.process_time() - cpu)
    sys.stdout.buffer.write(msgspec.json.encode(found))


def certify(client: Client, keeps: Iterator[Keep], audience: str, end: float) -> list[float]:
    """Ask for certificates until `end`; the seconds that each took, challenge and answer."""
    times = []
    while (began := time.perf_counter()) < end:
        keep = next(keeps)
        nonce = msgspec.json.decode(client.post("/v1/nonce", b""), type=Challenge).nonce
        issued = client.post("/v1/certificate", keep.answer(nonce, audience))
        times.append(time.perf_counter() - began)
        assert len(msgspec.json.decode(issued, type=Issued).chain) == 3
    return times


if __name__ == "__main__":
    main()
