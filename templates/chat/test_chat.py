"""Starts the service in a Keep of its own, and is its client. Run it with: python3 -m unittest"""

import http.client
import json
import pathlib
import ssl
import subprocess
import unittest


class Chat(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        settings = ["--set", "deploy.default.name=chat-test", "--set", "files.web.port=0"]
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

    def listen(self):
        """The events, line by line; the first says what was said last, or waits for what will be said."""
        connection = http.client.HTTPSConnection("localhost", self.port, context=self.trust, timeout=30)
        self.addCleanup(connection.close)
        connection.request("GET", "/events")
        answer = connection.getresponse()
        self.assertEqual(answer.headers["Content-Type"], "text/event-stream")
        return answer

    def test_what_one_says_everybody_hears(self):
        listeners = [self.listen() for _ in range(3)]
        self.assertEqual(self.ask("POST", "/say", "Ann: hello, café".encode())[0], 204)
        for listener in [*listeners, self.listen()]:  # one who comes later hears it, too
            self.assertEqual(listener.readline().decode(), "data: Ann: hello, café\n")
            self.assertEqual(listener.readline(), b"\n")

    def test_the_page_is_there(self):
        status, media_type, body = self.ask("GET", "/")
        self.assertEqual((status, media_type), (200, "text/html; charset=utf-8"))
        self.assertEqual(body, pathlib.Path("page/index.html").read_bytes())

    def test_a_message_is_one_short_line(self):
        self.assertEqual(self.ask("POST", "/say", "x" * 1001)[0], 400)
        self.assertEqual(self.ask("POST", "/say", "")[0], 400)


if __name__ == "__main__":
    unittest.main()
