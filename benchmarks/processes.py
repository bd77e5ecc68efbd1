"""Candidates in processes of their own, so that the memory of each is its own: what they hold, their turns, what bounds them."""

import contextlib
import os
import re
import select
import subprocess
import sys
import tempfile
import time


def memory(kind, of="self"):
    """Bytes that a process holds ("VmRSS"), or held at most since the last reset ("VmHWM")."""
    with open(f"/proc/{of}/status") as lines:
        return 1024 * int(re.search(rf"{kind}:\s+(\d+) kB", lines.read()).group(1))


def reset_peak():
    """Forgets what this process held at most."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def available():
    """Bytes that the machine could give to processes now."""
    with open("/proc/meminfo") as lines:
        return 1024 * int(re.search(r"MemAvailable:\s+(\d+) kB", lines.read()).group(1))


def answer_in_turn(make):
    """What a candidate's process does: runs `make()` once for each line that it reads, and answers with the seconds.

    The answer to "peak" is the most memory that the process has held, in bytes, since "reset" if that was said; "base" is what it
    held before `make`.

    Args:
        make: function that gives the function to run, which waits for its result.

    The variable CLOCK of the environment names the function of `time` that gives seconds, `perf_counter` where there is none.
    """
    clock = getattr(time, os.environ.get("CLOCK", "perf_counter"))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    base = memory("VmRSS")
    run = make()
    for line in sys.stdin:
        question = line.strip()
        if question in ("peak", "base"):
            answer = base if question == "base" else memory("VmHWM")
        elif question == "reset":
            reset_peak()
            answer = 0
        else:
            start = clock()
            run()
            answer = clock() - start
        print(answer, file=answers, flush=True)


class Worker:
    """A candidate in its process, which is ended when it takes too long or leaves the machine too little memory.

    Args:
        command: list of str, the program that calls `answer_in_turn`, and its arguments.
        environment: dict of what is set besides, or `None`.
        limit: float, seconds that an answer may take.
        spare: int, bytes that must stay available on the machine. Another process than ours would be ended for them else.
    """

    def __init__(self, command, environment=None, limit=float("inf"), spare=0):
        self.limit, self.spare, self.failure = limit, spare, None
        self.said = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115, as long as the process
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            env={**os.environ, **(environment or {})},
        )

    def ask(self, question="run"):
        """Returns the number that answers; or `None`, and `failure` says why."""
        if self.failure:
            return None
        start = time.monotonic()
        try:
            self.process.stdin.write(f"{question}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            return self._failed(self._last_words())
        while not select.select([self.process.stdout], [], [], 0.2)[0]:
            if available() < self.spare:
                return self._failed(f"memory: over {memory('VmRSS', self.process.pid) / 1e9:.1f} GB")
            if time.monotonic() - start > self.limit:
                return self._failed(f"over {self.limit:.0f} s")
        answer = self.process.stdout.readline()
        return float(answer) if answer else self._failed(self._last_words())

    def _failed(self, why):
        self.failure = why
        self.process.kill()
        self.process.wait()

    def _last_words(self):
        self.process.wait()
        self.said.seek(0)
        lines = self.said.read().strip().splitlines()
        return f"status {self.process.returncode}" + (f": {lines[-1][:200]}" if lines else "")

    def resident(self):
        """Bytes that it holds now."""
        return memory("VmRSS", self.process.pid)

    def close(self):
        """Ends it, and waits for that."""
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.said.close()
