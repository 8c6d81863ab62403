"""Runs the program in a Keep. Run it with: python3 -m unittest"""

import subprocess
import unittest


def run(word):
    return subprocess.run(["enarx-deploy", "run", ".", "--", word], capture_output=True, text=True)


class Fibonacci(unittest.TestCase):
    def test_it_prints_the_number(self):
        for n, number in [("0", 0), ("93", 12200160415121876738)]:
            ended = run(n)
            self.assertEqual(ended.stdout, f"fibonacci({n}) = {number}\n", ended.stderr)
            self.assertEqual(ended.returncode, 0)

    def test_it_says_what_it_takes(self):
        ended = run("94")
        self.assertEqual(ended.returncode, 2)
        self.assertIn("usage: fibonacci N, with N from 0 to 93", ended.stderr)


if __name__ == "__main__":
    unittest.main()
