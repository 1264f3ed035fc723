"""Runs other projects' own test suites on two contestants and compares them test by test.

Two halves, which never meet in one process: the supervisor (``supervisor``, ``compare``, ``expected``, ``report``,
``ordinary_user``; started by ``run.py``) imports none of the suites, and a worker (``worker.py`` with ``journal``,
``contestants`` and one of ``plans``) holds one contestant and calls a suite's own entry.
"""
