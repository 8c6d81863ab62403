"""Starts the service in a Keep of its own, and is its client. Run it with: python3 -m unittest"""

import http.client
import json
import pathlib
import ssl
import subprocess
import unittest


class Http(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        settings = ["--set", "deploy.default.name=http-test", "--set", "files.web.port=0"]
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

    def test_the_files_of_the_site_are_served(self):
        status, media_type, body = self.ask("GET", "/")
        self.assertEqual((status, media_type), (200, "text/html; charset=utf-8"))
        self.assertEqual(body, pathlib.Path("site/index.html").read_bytes())
        self.assertEqual(self.ask("GET", "/style.css")[2], pathlib.Path("site/style.css").read_bytes())

    def test_nothing_else_is(self):
        for path in ["/missing.html", "/../Enarx.toml", "/%2e%2e/main.c", "/site/index.html"]:
            self.assertEqual(self.ask("GET", path)[0], 404, path)
        self.assertEqual(self.ask("POST", "/", b"x")[0], 405)


if __name__ == "__main__":
    unittest.main()
