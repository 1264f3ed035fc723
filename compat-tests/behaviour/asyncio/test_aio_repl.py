"""The REPL of `python -m asyncio`, whose lines run as tasks of a loop in the main thread, on our loop."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

# As `python -m asyncio`, but for the loop that asyncio.new_event_loop() makes.
START = {
    "stock": "import runpy; runpy.run_module('asyncio', run_name='__main__', alter_sys=True)",
    "interloop": "import interloop, runpy; interloop.install(); "
    "runpy.run_module('asyncio', run_name='__main__', alter_sys=True)",
}


class Repl:
    def __init__(self, process):
        self.process = process

    def type(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self, text):
        """Reads on until a line ends with `text`, and answers that line."""
        for line in self.process.stdout:
            if line.rstrip().endswith(text):
                return line
        raise AssertionError(f"the REPL ended without {text!r}")


@pytest.fixture
def repl(loop_kind):
    if loop_kind not in START:
        pytest.skip("only how asyncio's own and ours are installed is known here")
    with subprocess.Popen(
        [sys.executable, "-u", "-W", "ignore::DeprecationWarning", "-c", START[loop_kind]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        yield Repl(process)
        process.kill()


def end(repl):
    repl.process.stdin.close()
    rest = repl.process.stdout.read()
    assert repl.process.wait() == 0
    return rest


def test_lines_are_awaited(repl, loop_kind):
    """Expressions with await, statements, names that stay, and the loop that runs them."""
    repl.type("await asyncio.sleep(0, 'slept')")
    repl.answer("'slept'")
    repl.type("number = 6 * 7")
    repl.type("print('number', number)")
    repl.answer("number 42")
    repl.type("type(asyncio.get_running_loop()).__module__")
    repl.answer("'interloop.loop'" if loop_kind == "interloop" else "'asyncio.unix_events'")
    repl.type("await asyncio.sleep(0, 1 / 0)")
    repl.answer("ZeroDivisionError: division by zero")
    assert "exiting asyncio REPL" in end(repl)


def test_tasks_go_on_between_lines(repl):
    """The loop sleeps while somebody types, and is woken by what its tasks wait for, and by the next line."""
    repl.type("event = asyncio.Event()")
    repl.type("task = asyncio.create_task(event.wait())")
    repl.type("timer = asyncio.create_task(asyncio.sleep(0.001, 'timer'))")
    repl.type("await timer")
    repl.answer("'timer'")
    repl.type("event.set()")
    repl.type("await task")
    repl.answer("True")
    end(repl)


def test_ctrl_c_ends_the_line(repl):
    """The line's task is cancelled; the REPL goes on."""
    # What prints is the task itself: from then on there is one to cancel.
    repl.type("async def wait(): print('wait' + 'ing'); await asyncio.sleep(10_000)")
    repl.type("")
    repl.type("await wait()")
    repl.answer("waiting")
    repl.process.send_signal(signal.SIGINT)
    repl.answer("KeyboardInterrupt")
    repl.type("await asyncio.sleep(0, 'on')")
    repl.answer("'on'")
    end(repl)


def test_exit(repl):
    """exit() within a line ends the loop and the process."""
    repl.type("exit(3)")
    repl.process.stdout.read()
    assert repl.process.wait() == 3
