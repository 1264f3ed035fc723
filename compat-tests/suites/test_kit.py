"""The kit itself: it must see every way in which a test can go wrong, or its "good" means nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from suitekit import compare, expected, placing, sdists
from suitekit.outcomes import ERRORED, FAILED, HEAD, PASSED, SKIPPED, TAIL, Record, add, shorten
from suitekit.plans import on_twisted

RUN = Path(__file__).parent / "run.py"


def run_selftest(tmp_path: Path, *arguments: str) -> tuple[int, dict]:
    """run.py on the small suite that does everything wrong; its exit code and its JSON."""
    out = tmp_path / "results.json"
    command = [sys.executable, str(RUN), "selftest", "--json", str(out), *arguments]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert out.exists(), done.stderr
    return done.returncode, json.loads(out.read_text())


def outcomes(differences: list[dict]) -> dict[str, tuple[str, str]]:
    return {each["test"].partition(".")[2]: (each["ours"], each["base"]) for each in differences}


@pytest.mark.timeout(300)
def test_every_way_to_fail_is_seen(tmp_path):
    code, results = run_selftest(tmp_path, "--again=0")
    found = results["comparison"]
    assert outcomes(found["regressions"]) == {
        "Deadly.test_b_is_killed_on_bad": ("crashed", "passed"),
        "Deadly.test_c_exits_on_bad": ("crashed", "passed"),
        "Deadly.test_d_hangs_on_bad": ("hung", "passed"),
        "SetUpFails.test_within": ("missing", "passed"),
        "Steady.test_a_sub_test_fails_on_bad": ("failed", "passed"),
        "Steady.test_errs_on_bad": ("errored", "passed"),
        "Steady.test_fails_on_bad": ("failed", "passed"),
        "Steady.test_fails_in_the_first_worker_only": ("failed", "passed"),
        "Steady.test_is_expected_to_fail": ("unexpected-success", "expected-failure"),
    }
    assert {(each["ours"], each["base"]) for each in found["failing_alone"]} == {
        ("failed", "skipped"),
        ("errored", "missing"),  # the class's set-up
    }
    assert outcomes(found["skipped"]) == {"Steady.test_skipped_on_bad": ("skipped", "passed")}
    assert outcomes(found["both"]) == {"Steady.test_fails_on_both": ("failed", "failed")}
    assert outcomes(found["base_only"]) == {"Steady.test_fails_on_good": ("passed", "failed")}
    assert found["unsteady"] == []
    assert code == 1
    assert results["good"] is False

    bad = results["contestants"]["bad"]["tests"]
    # What comes after a test that dies or hangs is run all the same, by another worker.
    assert bad["deadly_suite.Deadly.test_a_passes"]["outcome"] == "passed"
    assert bad["deadly_suite.Deadly.test_e_passes"]["outcome"] == "passed"
    assert bad["steady_suite.Steady.test_skipped_by_decorator"]["outcome"] == "skipped"
    # The stacks say where it hung.
    assert "threading.py" in bad["deadly_suite.Deadly.test_d_hangs_on_bad"]["detail"]
    assert "test_d_hangs_on_bad" in bad["deadly_suite.Deadly.test_d_hangs_on_bad"]["detail"]
    # As an ordinary user.
    assert bad["steady_suite.Steady.test_may_read_but_not_write"]["outcome"] == "passed"

    # Nothing is left behind: no process, though it had made itself a session of its own, and no file.
    if sys.platform == "linux":
        assert ["time.sleep(3600)" in line for line in results["left_running"].values()] == [True]
        for pid in results["left_running"]:
            with pytest.raises(ProcessLookupError):
                os.kill(int(pid), 0)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.timeout(300)
def test_chance_is_told_from_cause(tmp_path):
    _, results = run_selftest(tmp_path, "--module=steady_suite")
    found = results["comparison"]
    assert list(outcomes(found["unsteady"])) == ["Steady.test_fails_in_the_first_worker_only"]
    assert "Steady.test_fails_on_bad" in outcomes(found["regressions"])


@pytest.mark.timeout(300)
def test_a_contestant_without_failures_is_good(tmp_path):
    code, results = run_selftest(
        tmp_path, "--module=steady_suite", "--test=steady_suite.Steady.test_passes"
    )
    assert (code, results["good"]) == (0, True)
    assert list(results["contestants"]["bad"]["tests"]) == ["steady_suite.Steady.test_passes"]


@pytest.mark.timeout(300)
def test_a_module_that_cannot_be_imported_is_not_good(tmp_path):
    code, results = run_selftest(tmp_path, "--module=steady_suite", "--module=no_such_suite")
    assert code == 1
    assert any("no_such_suite" in problem for problem in results["problems"])


@pytest.mark.timeout(300)
def test_nothing_run_is_not_good(tmp_path):
    code, results = run_selftest(
        tmp_path, "--module=steady_suite", "--test=steady_suite.Steady.test_no_such"
    )
    assert code == 1
    assert "no test passed on bad" in results["problems"]


@pytest.mark.timeout(300)
def test_a_run_without_time_is_not_good(tmp_path):
    code, results = run_selftest(tmp_path, "--limit=0")
    assert code == 1
    assert results["good"] is False


@pytest.mark.timeout(300)
def test_expected_failures_and_entries_too_many(tmp_path):
    listed = tmp_path / "listed"
    name = "steady_suite.Steady."
    listed.write_text(
        f"{name}test_fails_on_bad: a reason\n"
        f"{name}test_passes: it does not fail\n"
        f"{name}test_gone: there is none\n"
    )
    selected = [f"--test={name}test_passes", f"--test={name}test_fails_on_bad"]
    code, results = run_selftest(
        tmp_path, "--module=steady_suite", f"--expected={listed}", *selected
    )
    found = results["comparison"]
    assert found["expected"] == {f"{name}test_fails_on_bad": "a reason"}
    assert found["regressions"] == []
    assert found["needless"] == [f"{name}test_passes"]
    assert found["unknown"] == []  # only a run of the whole suite can tell
    assert code == 1

    listed.write_text(f"{name}test_fails_on_bad: a reason\n")
    code, _ = run_selftest(tmp_path, "--module=steady_suite", f"--expected={listed}", *selected)
    assert code == 0


def test_an_entry_without_a_test_is_unknown():
    found = compare.compare({}, {}, {}, {"gone": "once"}, whole=True)
    assert found.unknown == ["gone"]
    assert not found.good


@pytest.mark.parametrize(
    ("ours", "base", "group"),
    [
        (FAILED, PASSED, "regressions"),
        (FAILED, FAILED, "both"),
        (FAILED, SKIPPED, "failing_alone"),
        (FAILED, None, "failing_alone"),
        (None, PASSED, "regressions"),
        (None, FAILED, "base_only"),
        (SKIPPED, PASSED, "skipped"),
        (SKIPPED, FAILED, "skipped"),
        (PASSED, FAILED, "base_only"),
        (PASSED, PASSED, None),
        (PASSED, None, None),
        (PASSED, SKIPPED, None),
        (SKIPPED, SKIPPED, None),
        (SKIPPED, None, None),
        (None, SKIPPED, None),
    ],
)
def test_groups(ours, base, group):
    found = compare.compare(
        {} if ours is None else {"t": Record(ours)},
        {} if base is None else {"t": Record(base)},
        {},
        {},
        whole=True,
    )
    groups = ("regressions", "failing_alone", "skipped", "both", "base_only")
    assert [name for name in groups if getattr(found, name)] == ([group] if group else [])
    assert found.good == (group in (None, "both", "base_only"))


def test_an_entry_that_fails_on_the_base_too_is_neither_used_nor_needless():
    found = compare.compare({"t": Record(FAILED)}, {"t": Record(FAILED)}, {}, {"t": "why"}, True)
    assert found.good
    assert found.expected == {}


def test_the_worst_report_counts():
    records: dict[str, Record] = {}
    add(records, "t", Record(PASSED, seconds=1.0))
    add(records, "t", Record(ERRORED, "in tearDown", seconds=2.0))
    add(records, "t", Record(FAILED, "before that"))
    assert records["t"].outcome == ERRORED
    assert records["t"].detail == "in tearDown"
    assert records["t"].seconds == 3.0


def test_expected_lists():
    text = "# why\n\nmod.Class.test_a: reason: with a colon\nmod.test_b [3.12, 3.13]: late\n"
    assert expected.parse(text, "3.13") == {
        "mod.Class.test_a": "reason: with a colon",
        "mod.test_b": "late",
    }
    assert list(expected.parse(text, "3.11")) == ["mod.Class.test_a"]
    with pytest.raises(expected.BadLine):
        expected.parse("mod.test_a\n", "3.13")
    with pytest.raises(expected.BadLine):
        expected.parse("mod.test_a: one\nmod.test_a: two\n", "3.13")


def test_the_lists_are_well_formed():
    for path in RUN.parent.glob("expected/*.txt"):
        for version in ("3.11", "3.12", "3.13", "3.14"):
            expected.load(path, version)


def test_the_list_for_cpython_is_short():
    """Of what every user may expect to work, at most this much is given up."""
    listed = expected.names((RUN.parent / "expected" / "cpython.txt").read_text())
    assert 0 < len(listed) <= 40


LOOPS = {
    "C.test_placed": (Record(PASSED, loops={"placed": 2}), Record(PASSED, loops={"stock": 2})),
    "C.test_both": (
        Record(PASSED, loops={"placed": 1, "stock": 1}),
        Record(PASSED, loops={"stock": 2}),
    ),
    "C.test_none": (Record(PASSED), Record(PASSED)),
    "C.test_skipped": (Record(SKIPPED), Record(PASSED, loops={"stock": 1})),
}
APART = (Record(PASSED, loops={"stock": 1}), Record(PASSED, loops={"stock": 1}))
MISSED = (Record(PASSED, loops={"placed": 1, "missed": 1}), Record(PASSED, loops={"stock": 2}))
WITHOUT = (Record(PASSED), Record(PASSED, loops={"stock": 1}))


@pytest.mark.parametrize(
    ("more", "listed", "problem"),
    [
        ({}, {}, None),
        ({"A.test": APART}, {"A": "mocks it"}, None),
        ({"A.test": APART}, {}, "not listed apart"),
        ({}, {"A": "mocks it"}, "listed apart, but"),
        ({"A.test": MISSED}, {}, "stock's Unix loop"),
        ({"A.test": WITHOUT}, {}, "none on ours"),
    ],
)
def test_where_tests_ran(more, listed, problem):
    both = {**LOOPS, **more}
    found = placing.judge(
        {test: records[0] for test, records in both.items()},
        {test: records[1] for test, records in both.items()},
        listed,
        whole=True,
    )
    if problem is None:
        assert found.problems == []
    else:
        (said,) = found.problems
        assert problem in said
    assert found.reasons == {name: listed[name] for name in found.apart if name in listed}


def test_groups_of_tests():
    assert (
        placing.group_of("test.test_asyncio.test_tasks.C.test_x")
        == "test.test_asyncio.test_tasks.C"
    )
    assert placing.group_of("tests/test_a.py::TestB::test_c[x.y::z]") == "tests/test_a.py::TestB"
    assert placing.group_of("tests/test_a.py::test_c[x.y]") == "tests/test_a.py"


def test_the_source_distributions_are_those_of_what_is_tested():
    wanted = (RUN.parent / "requirements.txt").read_text()
    wanted += (RUN.parent.parent / "requirements.txt").read_text()
    for name in ("anyio", "aiohttp", "scrapy"):
        version, line = sdists.pin(name)
        assert f"{name}=={version}" in wanted.lower().splitlines()
        assert sdists.required(name) == version
        assert line.startswith(f"{name}=={version} --hash=sha256:")
    with pytest.raises(SystemExit, match="no line for"):
        sdists.pin("no-such-suite")
    with pytest.raises(SystemExit, match="no line for"):
        sdists.required("no-such-suite")
    with pytest.raises(SystemExit, match="pip install"):
        sdists.installed("pytest", "0.0")


def test_connections_are_counted_by_what_they_are():
    words = placing.CONNECTIONS
    stock = Record(PASSED, loops={"stock": 1})
    for mine, problem in (
        (Record(PASSED, loops={"placed": 2, "stock": 1}), None),
        (stock, "not listed apart, but runs on Twisted's own transports: C (C.test)"),
        (Record(PASSED), "made a connection on the base and none on ours: C.test"),
    ):
        found = placing.judge({"C.test": mine}, {"C.test": stock}, {}, True, words)
        assert found.problems == ([] if problem is None else [problem])


CONNECT = """
from suitekit import reactors
print(reactors.install({kind!r}))
from twisted.internet import protocol, reactor

class Ends(protocol.Protocol):
    def connectionLost(self, reason):
        reactor.stop()

server = protocol.Factory.forProtocol(Ends)
port = reactor.listenTCP(0, server, interface="127.0.0.1")
client = protocol.ClientFactory.forProtocol(protocol.Protocol)
connector = reactor.connectTCP("127.0.0.1", port.getHost().port, client)
# An attempt is no connection yet.
assert reactors.CONNECTIONS_MADE == dict(placed=0, stock=0)
client.buildProtocol = lambda address: Leaves()

class Leaves(protocol.Protocol):
    def connectionMade(self):
        self.transport.loseConnection()

reactor.run()
print(reactors.CONNECTIONS_MADE)
"""


@pytest.mark.parametrize(("kind", "made"), [("interloop", "placed"), ("epoll", "stock")])
def test_whose_connections_are_made(kind, made):
    source = CONNECT.format(kind=kind)
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, cwd=RUN.parent, check=True
    )
    assert done.stdout.splitlines()[-1] == str({"placed": 0, "stock": 0} | {made: 2})


def test_processes_of_twisteds_suite():
    modules = on_twisted.modules()
    assert {"twisted.test", "twisted.internet.test", "twisted.trial._dist.test"} <= set(modules)
    assert "twisted.plugins" not in modules
    batches = on_twisted.batches(modules)
    assert sorted(name for batch in batches for name in batch) == modules
    assert ["twisted.trial._dist.test", "twisted.trial.test"] in batches
    assert on_twisted.batches(["twisted.web.test.test_http"]) == [["twisted.web.test.test_http"]]


def test_reactor_parametrized_names():
    ours = "twisted.internet.test.test_tcp.TCPTests_ReactorTests.test_x"
    base = "twisted.internet.test.test_tcp.TCPTests_EPollReactorTests.test_x"
    name = "twisted.internet.test.test_tcp.TCPTests_<reactor>.test_x"
    assert on_twisted.canonical(ours, "interloop") == name
    assert on_twisted.canonical(base, "epoll") == name
    assert on_twisted.own_name(name, "interloop") == ours
    assert on_twisted.own_name(name, "epoll") == base
    # Tests of one reactor alone stay what they are.
    plain = "twisted.internet.test.test_epollreactor.EPollReactorTests.test_y"
    assert on_twisted.canonical(plain, "epoll") == plain


def test_long_tracebacks_keep_head_and_tail():
    text = "a" * HEAD + "b" * 5000 + "c" * TAIL
    short = shorten(text)
    assert short.startswith("a" * HEAD + "\n[... 5000 characters")
    assert short.endswith("c" * TAIL)
