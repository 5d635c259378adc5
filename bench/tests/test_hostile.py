"""The report on hostile inputs says what ran and how."""

import sys
import pathlib
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import corpus
import hostile


class Hostile(unittest.TestCase):
    def test_results_of_a_run(self):
        output = "running 3 tests\ntest a_b ... ok\ntest m::c_d ... FAILED\ntest e ... ignored\n\ntest result: FAILED."
        found = hostile.results(output)
        self.assertEqual(found, [("a_b", "ok"), ("m::c_d", "FAILED"), ("e", "ignored")])
        self.assertEqual(hostile.words("m::c_d"), "c d")
        self.assertEqual(hostile.results("test result: ok."), [])


class Corpus(unittest.TestCase):
    def test_documents_one_after_another(self):
        self.assertEqual(list(corpus.documents(' {"a": 1}\n{"b": 2}\n')), [{"a": 1}, {"b": 2}])
        self.assertEqual(list(corpus.documents("\n")), [])


if __name__ == "__main__":
    unittest.main()
