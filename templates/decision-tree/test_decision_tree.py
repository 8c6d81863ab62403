"""Starts the service in a Keep of its own, and is its client. Run it with: python3 -m unittest"""

import http.client
import json
import pathlib
import ssl
import subprocess
import sys
import unittest


class DecisionTree(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        settings = ["--set", "deploy.default.name=decision-tree-test", "--set", "files.web.port=0"]
        up = subprocess.run(["enarx-deploy", "up", "--json", *settings], check=True, stdout=subprocess.PIPE)
        started = json.loads(up.stdout)
        cls.keep = started["deployment"]["id"]
        stop = ["enarx-deploy", "stop", cls.keep]
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

    def test_it_is_right_more_often_than_a_guess(self):
        learnt = json.loads(self.ask("GET", "/")[2])
        self.assertEqual((learnt["rows"], learnt["tested"]), (768, 154))
        self.assertGreater(learnt["accuracy"], learnt["baseline"] + 0.1)

    def test_it_says_its_accuracy_when_it_starts(self):
        logs = subprocess.run(["enarx-deploy", "logs", self.keep], check=True, capture_output=True, text=True).stdout
        self.assertRegex(logs, r"accuracy 0\.7\d\d on 154 others")

    def test_it_predicts(self):
        healthy = "pregnancies=1&glucose=85&blood_pressure=66&skin_thickness=29&insulin=40&bmi=22.6&pedigree=0.2&age=25"
        ill = "pregnancies=8&glucose=190&blood_pressure=80&skin_thickness=40&insulin=200&bmi=43.1&pedigree=1.2&age=58"
        for form, expected in [(healthy, False), (ill, True)]:
            status, _, body = self.ask("POST", "/predict", form)
            self.assertEqual((status, json.loads(body)["diabetes"]), (200, expected))

    def test_it_says_what_is_missing(self):
        self.assertEqual(self.ask("POST", "/predict", "glucose=85")[::2], (400, b"pregnancies is missing, or no number\n"))

    def test_the_table_is_what_its_script_makes(self):
        made = subprocess.run([sys.executable, "make_patients.py"], check=True, capture_output=True).stdout
        self.assertEqual(pathlib.Path("patients.csv").read_bytes(), made)


if __name__ == "__main__":
    unittest.main()
