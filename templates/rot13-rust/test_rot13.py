"""Starts the service in a Keep of its own, and is its client. Run it with: python3 -m unittest"""

import json
import socket
import ssl
import subprocess
import unittest


class Rot13(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        settings = ["--set", "deploy.default.name=rot13-test", "--set", "files.rot13.port=0"]
        up = subprocess.run(["enarx-deploy", "up", "--json", *settings], check=True, stdout=subprocess.PIPE)
        started = json.loads(up.stdout)
        stop = ["enarx-deploy", "stop", started["deployment"]["id"]]
        cls.addClassCleanup(subprocess.run, stop, check=True, stdout=subprocess.DEVNULL)
        cls.port = started["endpoints"][0]["port"]
        cls.trust = ssl.create_default_context(cafile=started["steward"]["root_pem_path"])

    def connect(self):
        plain = socket.create_connection(("localhost", self.port), timeout=30)
        client = self.trust.wrap_socket(plain, server_hostname="localhost")
        self.addCleanup(client.close)
        return client.makefile("rw", newline="\n")

    def test_letters_come_back_13_places_on(self):
        client = self.connect()
        client.write("Hello, World 123!\n")
        client.flush()
        self.assertEqual(client.readline(), "Uryyb, Jbeyq 123!\n")

    def test_a_silent_client_keeps_nobody_waiting(self):
        self.connect()
        self.test_letters_come_back_13_places_on()


if __name__ == "__main__":
    unittest.main()
