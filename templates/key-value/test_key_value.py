"""Starts the service in a Keep of its own, and is its client. Run it with: python3 -m unittest"""

import http.client
import json
import ssl
import subprocess
import unittest


class KeyValue(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        settings = ["--set", "deploy.default.name=key-value-test", "--set", "files.web.port=0"]
        up = subprocess.run(["enarx-deploy", "up", "--json", *settings], check=True, stdout=subprocess.PIPE)
        started = json.loads(up.stdout)
        stop = ["enarx-deploy", "stop", started["deployment"]["id"]]
        cls.addClassCleanup(subprocess.run, stop, check=True, stdout=subprocess.DEVNULL)
        cls.port = started["endpoints"][0]["port"]
        cls.trust = ssl.create_default_context(cafile=started["steward"]["root_pem_path"])

    def ask(self, method, path, body=None):
        """The status, the media type and the body of an answer."""
        connection = http.client.HTTPSConnection("localhost", self.port, context=self.trust, timeout=30)
        self.addCleanup(connection.close)
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()

    def test_what_is_put_can_be_got_and_deleted(self):
        self.assertEqual(self.ask("PUT", "/keys/colour", b"red")[0], 201)
        self.assertEqual(self.ask("PUT", "/keys/colour", b"blue")[0], 204)
        self.assertEqual(self.ask("GET", "/keys/colour")[2], b"blue")
        self.assertEqual(self.ask("GET", "/keys")[2], b"colour\n")
        self.assertEqual(self.ask("DELETE", "/keys/colour")[0], 204)
        self.assertEqual(self.ask("GET", "/keys/colour")[0], 404)

    def test_any_bytes_can_be_a_value_and_any_letters_a_name(self):
        value = bytes(range(256)) * 200
        self.assertEqual(self.ask("PUT", "/keys/caf%C3%A9%20noir", value)[0], 201)
        self.assertEqual(self.ask("GET", "/keys/caf%C3%A9%20noir")[2], value)
        self.assertEqual(self.ask("DELETE", "/keys/caf%C3%A9%20noir")[0], 204)

    def test_what_is_too_large_is_refused(self):
        self.assertEqual(self.ask("PUT", "/keys/large", b"x" * 65537)[0], 413)
        self.assertEqual(self.ask("PUT", "/keys/" + "x" * 257, b"x")[0], 400)
        self.assertEqual(self.ask("GET", "/keys")[2], b"")


if __name__ == "__main__":
    unittest.main()
