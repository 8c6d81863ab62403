"""Runs the program in a Keep. Run it with: python3 -m unittest"""

import subprocess
import unittest


def run(word):
    return subprocess.run(["enarx-deploy", "run", ".", "--", word], capture_output=True, text=True)


class RangeProof(unittest.TestCase):
    def test_a_number_in_the_range_is_proven_and_not_told(self):
        ended = run("123456789")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        lines = dict(line.split(maxsplit=1) for line in ended.stdout.splitlines())
        self.assertRegex(lines["commitment"], "^[0-9a-f]{64}$")
        self.assertIn("proof           608 bytes\n", ended.stdout)
        self.assertIn("this proof      verified: the number is from 0 to 4294967295\n", ended.stdout)
        self.assertNotIn("123456789", ended.stdout)

    def test_a_proof_is_for_one_commitment(self):
        self.assertIn("for another one refused: ", run("1").stdout)

    def test_a_number_out_of_the_range_cannot_be_proven(self):
        ended = run(str(2**32))
        self.assertEqual(ended.returncode, 1, ended.stderr)
        self.assertIn("this proof      refused: ", ended.stdout)


if __name__ == "__main__":
    unittest.main()
