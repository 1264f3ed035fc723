"""Tests that come to an end, one way or another. Run by run.py, not by pytest."""

import os
import unittest

BAD = os.environ["SELFTEST"] == "bad"


class Steady(unittest.TestCase):
    def test_passes(self):
        pass

    def test_fails_on_bad(self):
        assert not BAD, "wrong on purpose"

    def test_errs_on_bad(self):
        if BAD:
            raise RuntimeError("an error on purpose")

    def test_fails_on_both(self):
        self.fail("wrong everywhere")

    def test_fails_on_good(self):
        assert BAD

    def test_skipped_on_bad(self):
        if BAD:
            self.skipTest("not on bad")

    def test_skipped_on_good(self):
        if not BAD:
            self.skipTest("not on good")
        self.fail("wrong where nothing compares")

    def test_skipped_on_both(self):
        self.skipTest("nowhere")

    @unittest.skip("by its decorator")
    def test_skipped_by_decorator(self):
        self.fail("not skipped")

    def test_a_sub_test_fails_on_bad(self):
        for number in range(3):
            with self.subTest(number=number):
                assert not (BAD and number == 1)

    @unittest.expectedFailure
    def test_is_expected_to_fail(self):
        assert BAD

    def test_may_read_but_not_write(self):
        assert os.geteuid() != 0
        try:
            os.chmod("/dev/null", 0o666)
        except PermissionError:
            return
        self.fail("an ordinary user could change /dev/null")

    def test_fails_in_the_first_worker_only(self):
        """Later workers of a run find what the first one left beside its own folder."""
        mark = os.path.join(os.environ["HOME"], "..", "..", "mark")
        if BAD and not os.path.exists(mark):
            open(mark, "w").close()
            self.fail("by chance")


class SetUpFails(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if BAD:
            raise RuntimeError("no class today")

    def test_within(self):
        pass
