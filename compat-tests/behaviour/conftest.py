"""Behaviour tests: what a framework's users rely on, stated once and run on the framework's own loop and on interloop.

A test that depends on the implementation takes `loop_kind`, or one of the fixtures built on it (see ../conftest.py).
"""
