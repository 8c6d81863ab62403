"""Starts the service in a Keep of its own, and is its client. Run it with: python3 -m unittest

Requests are made, and answers verified, by the command openssl.
"""

import http.client
import json
import pathlib
import shutil
import ssl
import subprocess
import tempfile
import unittest


@unittest.skipUnless(shutil.which("openssl"), "needs the command openssl")
class Timestamp(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        settings = ["--set", "deploy.default.name=timestamp-test", "--set", "files.web.port=0"]
        up = subprocess.run(["enarx-deploy", "up", "--json", *settings], check=True, stdout=subprocess.PIPE)
        started = json.loads(up.stdout)
        stop = ["enarx-deploy", "stop", started["deployment"]["id"]]
        cls.addClassCleanup(subprocess.run, stop, check=True, stdout=subprocess.DEVNULL)
        cls.port = started["endpoints"][0]["port"]
        cls.trust = ssl.create_default_context(cafile=started["steward"]["root_pem_path"])

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "document").write_text("what was said\n")
        (self.folder / "cert.pem").write_bytes(self.ask("GET", "/cert"))

    def ask(self, method, path, body=None):
        connection = http.client.HTTPSConnection("localhost", self.port, context=self.trust, timeout=60)
        self.addCleanup(connection.close)
        connection.request(method, path, body)
        answer = connection.getresponse()
        self.assertEqual(answer.status, 200)
        return answer.read()

    def openssl(self, *words):
        return subprocess.run(["openssl", "ts", *words], cwd=self.folder, capture_output=True, text=True)

    def stamp(self, *words):
        """Have the document stamped; the answer is in the file `reply`."""
        asked = self.openssl("-query", "-data", "document", "-out", "query", *words)
        self.assertEqual(asked.returncode, 0, asked.stderr)
        (self.folder / "reply").write_bytes(self.ask("POST", "/", (self.folder / "query").read_bytes()))

    def verify(self, *words):
        return self.openssl("-verify", "-in", "reply", "-CAfile", "cert.pem", *words)

    def test_what_is_stamped_is_verified_by_openssl(self):
        for words in [("-sha256", "-cert"), ("-sha384", "-cert"), ("-sha512", "-cert", "-no_nonce")]:
            self.stamp(*words)
            for about in [("-queryfile", "query"), ("-data", "document")]:
                verified = self.verify(*about)
                self.assertIn("Verification: OK", verified.stdout + verified.stderr, (words, about))

    def test_the_certificate_is_left_out_where_it_is_not_asked_for(self):
        self.stamp("-sha256")
        self.assertNotEqual(self.verify("-data", "document").returncode, 0)
        verified = self.verify("-data", "document", "-untrusted", "cert.pem")
        self.assertIn("Verification: OK", verified.stdout + verified.stderr)

    def test_another_document_is_not_what_was_stamped(self):
        self.stamp("-sha256", "-cert")
        (self.folder / "document").write_text("what was never said\n")
        self.assertNotEqual(self.verify("-data", "document").returncode, 0)

    def test_what_is_not_signed_is_refused_with_its_reason(self):
        for words, reason in [
            (("-sha1",), "unrecognized or unsupported algorithm identifier"),
            (("-sha256", "-tspolicy", "1.2.3"), "the requested TSA policy is not supported by the TSA"),
        ]:
            self.stamp(*words)
            shown = self.openssl("-reply", "-in", "reply", "-text").stdout
            self.assertIn("Status: Rejected.", shown)
            self.assertIn(reason, shown)
        (self.folder / "reply").write_bytes(self.ask("POST", "/", b"no request at all"))
        self.assertIn("the data submitted has the wrong format", self.openssl("-reply", "-in", "reply", "-text").stdout)


if __name__ == "__main__":
    unittest.main()
