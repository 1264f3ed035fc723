"""The three kinds of measurement: servers under load, programs that time themselves, and the
memory of a server's idle connections. A later kind is one more class with `measure`."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from harness.model import Contestant, MeasureError, Sample, Settings, Target
from harness.processes import START_TIMEOUT, Child, command_of, environment_of, expand

# Share of a slice that others may take from the measured cores.
DISTURBED = 0.02

Measured = dict[str, Sample | MeasureError]


class RunningServer(Child):
    """A contestant's server, listening; `address` is what the load generator connects to."""

    def __init__(
        self,
        contestant: Contestant,
        settings: Settings,
        arguments: tuple[str, ...],
        unix: bool,
        protocol: str = "tcp",
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bench-") if unix else None
        command = [*command_of(contestant, settings), *expand(arguments, settings)]
        if self._folder is not None:
            command += ["--unix", os.path.join(self._folder.name, "socket")]
        environment = environment_of(contestant, settings)
        super().__init__(command, settings.server_core, settings.realtime, environment)
        self.unix = unix
        self.protocol = protocol
        self.address = ""

    def __enter__(self) -> RunningServer:
        try:
            first = self.line(START_TIMEOUT)
        except MeasureError as error:
            self.__exit__(type(error), error, None)
            raise
        self.address = f"unix:{first}" if self.unix else f"{self.protocol}:127.0.0.1:{first}"
        return self

    def __exit__(self, *failure: Any) -> None:
        try:
            super().__exit__(*failure)
        finally:
            if self._folder is not None:
                self._folder.cleanup()

    def wait_for_connections(self, wanted: int, timeout: float = 30.0) -> dict[str, Any]:
        """Until it has exactly so many: those which the kernel queued are not accepted yet."""
        deadline = time.monotonic() + timeout
        while (facts := self.ask())["connections"] != wanted:
            if time.monotonic() > deadline:
                raise self.failure(f"has {facts['connections']} connections, not {wanted}")
            # Not a busy loop: it would take the server's core from it.
            time.sleep(0.02)
        return facts


@dataclass(frozen=True)
class ServerLoad:
    """CPU time per request of servers under the load generator.

    `load` may name another generator with the same options and output, for protocols that ours
    cannot speak.
    """

    name: str
    mode: str = "echo"
    connections: int = 10
    size: int = 1024
    unix: bool = False
    # What a port stands for: "tcp" or "udp".
    protocol: str = "tcp"
    server_arguments: tuple[str, ...] = ()
    load: tuple[str, ...] = ("{load}",)
    load_arguments: tuple[str, ...] = ()
    quick: bool = False
    targets: tuple[Target, ...] = ()
    unit: str = "µs/req"

    def measure(self, contestants: Sequence[Contestant], settings: Settings) -> Measured:
        measured: Measured = {}
        running: dict[str, RunningServer] = {}
        with ExitStack() as stack:
            for contestant in contestants:
                # The floor knows no interfaces to choose from: it is the floor for all of them.
                arguments = () if contestant.reference else self.server_arguments
                try:
                    server = RunningServer(
                        contestant, settings, arguments, self.unix, self.protocol
                    )
                    running[contestant.name] = stack.enter_context(server)
                except MeasureError as error:
                    measured[contestant.name] = error
            if running:
                try:
                    measured |= self._load(running, settings)
                except MeasureError as error:
                    # The load generator's own failure is nobody's in particular: none has a figure.
                    measured |= dict.fromkeys(running, error)
            _finish(running, measured)
        return measured

    def _load(self, running: dict[str, RunningServer], settings: Settings) -> Measured:
        command = [*expand(self.load, settings), self.mode]
        for server in running.values():
            command += ["--connect", server.address, "--server-pid", str(server.pid)]
        command += ["--connections", str(self.connections), "--size", str(self.size)]
        # With many connections a slice is long, by its number of requests: fewer of them will do.
        slices = settings.slices if self.connections <= 100 else (settings.slices + 1) // 2
        slices = max(2, slices // (1 + self.connections * self.size // (16 << 20)))
        command += ["--slices", str(slices), "--seconds", str(settings.slice_seconds)]
        # That many before no more are begun: with those still under way a slice has twice as many.
        command += ["--requests", str(self.connections), "--warmup", str(settings.warmup)]
        command += ["--rest", str(settings.rest), *expand(self.load_arguments, settings)]
        if settings.spin:
            command.append("--spin")
        slowest = slices * max(settings.slice_seconds, self.connections * 0.004)
        limit = 60.0 + (slowest + settings.warmup) * 2 * len(running)
        limit += slices * settings.rest
        with Child(command, settings.load_core, settings.realtime) as load:
            answers = load.json_line(limit)["servers"]
            load.finish()
        measured: Measured = {}
        for (name, server), found in zip(running.items(), answers, strict=True):
            if found["errors"]:
                what = f"{found['errors']} failed requests, first: {found['first_error']}"
                measured[name] = server.failure(what)
                continue
            try:
                found["server"] = server.ask()
            except MeasureError as error:
                measured[name] = error
            else:
                measured[name] = self._sample(found)
        return measured

    @staticmethod
    def _sample(found: dict[str, Any]) -> Sample:
        slices = found["slices"]
        costs: list[float] = []
        disturbed: set[int] = set()
        for requests, ns, cpu, *waits in zip(
            slices["requests"],
            slices["ns"],
            slices["server_cpu_ns"],
            slices["server_wait_ns"],
            slices["load_wait_ns"],
            strict=True,
        ):
            if max(waits) > DISTURBED * ns:
                disturbed.add(len(costs))
            costs.append(cpu / requests / 1e3)
        requests, seconds = found["requests"], found["seconds"]
        cost = found["server_cpu_ns"] / requests / 1e3
        split = found["server_user_s"] + found["server_system_s"]
        in_kernel = found["server_system_s"] / split if split else 0.0
        columns = {
            "user µs": cost * (1 - in_kernel),
            "sys µs": cost * in_kernel,
            "req/s": requests / seconds,
            "p50 µs": found["p50_us"],
            "p99 µs": found["p99_us"],
            "server %": found["server_cpu_ns"] / seconds / 1e7,
            "load %": found["load_cpu_ns"] / seconds / 1e7,
            "sleeps/req": found["server_sleeps"] / requests,
        }
        return Sample(tuple(costs), frozenset(disturbed), columns, found)


@dataclass(frozen=True)
class TimedProgram:
    """Programs that measure themselves, one repetition when asked.

    Each gets `--bench NAME --seconds S`, prepares a repetition of S seconds of CPU time, prints
    a JSON object, and then answers every line on stdin, `gc on` or `gc off`, with an object
    `{"operations", "cpu_ns", "wall_ns", "wait_ns", "collections"}`, until stdin ends.
    """

    name: str
    arguments: tuple[str, ...] = ()
    quick: bool = True
    targets: tuple[Target, ...] = ()
    unit: str = "ns/op"

    def measure(self, contestants: Sequence[Contestant], settings: Settings) -> Measured:
        measured: Measured = {}
        running: dict[str, Child] = {}
        facts: dict[str, dict[str, Any]] = {}
        answers: dict[str, list[dict[str, Any]]] = {}
        without_gc: dict[str, list[dict[str, Any]]] = {}
        with ExitStack() as stack:
            for contestant in contestants:
                try:
                    child = stack.enter_context(self._start(contestant, settings))
                    facts[contestant.name] = child.json_line(60.0)
                except MeasureError as error:
                    measured[contestant.name] = error
                else:
                    running[contestant.name] = child
                    answers[contestant.name], without_gc[contestant.name] = [], []
            for number in range(settings.slices):
                order = list(running)
                if number % 2:
                    order.reverse()
                time.sleep(settings.rest)
                for name in order:
                    try:
                        answers[name].append(running[name].ask("gc on"))
                        # For the note beside the figure a few are enough.
                        if number % 4 == 0:
                            without_gc[name].append(running[name].ask("gc off"))
                    except MeasureError as error:
                        measured[name] = error
                        del running[name]
            for name in running:
                measured[name] = self._sample(facts[name], answers[name], without_gc[name])
            _finish(running, measured)
        return measured

    def _start(self, contestant: Contestant, settings: Settings) -> Child:
        command = [*command_of(contestant, settings), *expand(self.arguments, settings)]
        command += ["--bench", self.name, "--seconds", str(settings.slice_seconds)]
        environment = environment_of(contestant, settings)
        return Child(command, settings.server_core, settings.realtime, environment)

    @staticmethod
    def _sample(
        facts: dict[str, Any], answers: list[dict[str, Any]], without_gc: list[dict[str, Any]]
    ) -> Sample:
        costs = tuple(answer["cpu_ns"] / answer["operations"] for answer in answers)
        disturbed = frozenset(
            number
            for number, answer in enumerate(answers)
            if answer["wait_ns"] > DISTURBED * answer["wall_ns"]
        )
        done = sum(answer["operations"] for answer in answers)
        columns = {
            "gc off": statistics.median(one["cpu_ns"] / one["operations"] for one in without_gc),
            "gc runs/1M": sum(answer["collections"] for answer in answers) / done * 1e6,
            "wall ns": sum(answer["wall_ns"] for answer in answers) / done,
        }
        return Sample(costs, disturbed, columns, facts)


@dataclass(frozen=True)
class IdleMemory:
    """Resident memory of a server per idle connection.

    Counted from a server that already holds one connection which was used, so that what is
    imported or allocated once is in the baseline.
    """

    name: str
    connections: int = 1000
    quick_connections: int = 200
    # Each connection carries one echo before it goes idle.
    touch: bool = False
    server_arguments: tuple[str, ...] = ()
    load_arguments: tuple[str, ...] = ()
    quick: bool = True
    targets: tuple[Target, ...] = ()
    unit: str = "B/conn"

    def measure(self, contestants: Sequence[Contestant], settings: Settings) -> Measured:
        measured: Measured = {}
        for contestant in contestants:
            try:
                measured[contestant.name] = self._measure(contestant, settings)
            except MeasureError as error:
                measured[contestant.name] = error
        return measured

    def _measure(self, contestant: Contestant, settings: Settings) -> Sample:
        wanted = self.quick_connections if settings.quick else self.connections
        with RunningServer(contestant, settings, self.server_arguments, False) as server:
            idle = [*expand(("{load}",), settings), "idle", "--connect", server.address]
            idle += expand(self.load_arguments, settings)
            with Child([*idle, "--touch"], settings.load_core, settings.realtime) as first:
                first.json_line(START_TIMEOUT)
                server.wait_for_connections(1)
                before = resident(server.pid)
                command = [*idle, "--connections", str(wanted)]
                if self.touch:
                    command.append("--touch")
                with Child(command, settings.load_core, settings.realtime) as load:
                    if load.json_line(120.0)["connected"] != wanted:
                        raise load.failure("could not open all connections")
                    facts = server.wait_for_connections(wanted + 1)
                    after = resident(server.pid)
                    load.close_stdin()
                    lost = load.json_line(30.0)["lost"]
                    load.finish()
                if lost:
                    raise MeasureError(f"the server dropped {lost} of {wanted} idle connections")
                server.wait_for_connections(1)
                emptied = resident(server.pid)
                first.finish()
            server.finish()
        columns = {
            "before MiB": before / 2**20,
            "with MiB": after / 2**20,
            "closed MiB": emptied / 2**20,
        }
        raw = {"connections": wanted, "server": facts}
        return Sample(((after - before) / wanted,), frozenset(), columns, raw)


def _finish(running: Mapping[str, Child], measured: Measured) -> None:
    """End all of them. One that ends badly has no figure, unless it has an older failure."""
    for name, child in running.items():
        try:
            child.finish()
        except MeasureError as error:
            if not isinstance(measured.get(name), MeasureError):
                measured[name] = error


def resident(pid: int) -> int:
    """Bytes of physical memory of a process, exact (statm's count may lag by some pages)."""
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        for line in rollup:
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
    raise MeasureError(f"/proc/{pid}/smaps_rollup has no Rss")
