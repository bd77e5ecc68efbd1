"""The table of training steps: what is left out and why, turns and ratios, with candidates that only say how long they took."""

import json

import processes
import pytest
import training

pytestmark = pytest.mark.once  # no backend is imported
# Answers as a candidate would; which one it is, its arguments say.
PROGRAM = """
import sys, time
name, candidate, batch, jit, tiny = sys.argv[1:]
if candidate == "transformers":
    sys.exit("no such model")
steps = 0
for line in sys.stdin:
    if candidate == "compiled":
        time.sleep(30)
    steps += 1
    seconds = {"keras_tx": 0.5, "keras_hub": 1.0}.get(candidate) + (9.5 if steps == 1 else 0) + int(batch) / 10
    print({"peak": 3e9, "base": 1e9}.get(line.strip(), seconds), flush=True)
"""


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    program = tmp_path / "candidate.py"
    program.write_text(PROGRAM)
    for module in (processes, training):  # whatever else runs on the machine
        monkeypatch.setattr(module, "available", lambda: 1e12)

    def run(*options):
        training.main(["--model", "gpt", "--batch", "5", "--jit", "on", "--program", str(program), *options])
        return capsys.readouterr().out.strip().splitlines()

    return run


def test_a_row_says_what_was_measured_and_what_was_left_out(run):
    *table, last = run("--rounds", "3", "--limit", "4")
    (row,) = json.loads(last)["rows"]
    assert row["milliseconds"] == {"keras_tx": 1000.0, "keras_hub": 1500.0}
    assert row["ratio"] == {"keras_hub": 1.5}
    assert row["samples_per_second"] == {"keras_tx": 5.0, "keras_hub": 3.333}
    assert row["first_step_seconds"] == {"keras_tx": 10.5, "keras_hub": 11.0}
    assert row["peak_gigabytes"] == {"keras_tx": 2.0, "keras_hub": 2.0}
    assert row["rounds"] == {"keras_tx": 3, "keras_hub": 3}
    assert row["turns"] == "together"
    assert row["left_out"] == {"transformers": "status 1: no such model", "compiled": "over 4 s"}
    head, line, cells = table
    assert head.count("|") == line.count("|") == cells.count("|")
    assert "| 1000.0 | 1500.0 |  |  | 1.5 |" in cells
    assert "no such model" in cells


def test_where_memory_does_not_hold_all_they_run_one_after_the_other(run, monkeypatch):
    monkeypatch.setattr(training, "available", lambda: 2e9)  # the first held 3e9 at most
    (row,) = json.loads(run("--peers", "keras_hub", "--rounds", "2")[-1])["rows"]
    assert row["turns"] == "one at a time"
    assert row["ratio"] == {"keras_hub": 1.5}
    assert not row["left_out"]


def test_one_that_finds_too_little_memory_beside_others_is_tried_alone(run, monkeypatch):
    monkeypatch.setattr(training, "available", lambda: 1e12)
    started, ask = [], processes.Worker.ask

    def asked(self, question="run"):
        if self not in started:
            started.append(self)
            if len(started) == 2:
                return self._failed("memory: over 9.9 GB")
        return ask(self, question)

    monkeypatch.setattr(training.Worker, "ask", asked)
    (row,) = json.loads(run("--peers", "keras_hub", "--rounds", "2")[-1])["rows"]
    assert len(started) == 4
    assert row["turns"] == "one at a time"
    assert set(row["milliseconds"]) == {"keras_tx", "keras_hub"}
    assert not row["left_out"]


def test_no_round_begins_late_but_two_are_made(run):
    (row,) = json.loads(run("--peers", "--rounds", "9", "--seconds", "0")[-1])["rows"]
    assert row["rounds"] == {"keras_tx": 2}
    assert row["ratio"] == {}


def test_a_process_that_leaves_the_machine_too_little_is_ended(tmp_path):
    program = tmp_path / "sleeps.py"
    program.write_text("import sys, time; sys.stdin.readline(); time.sleep(60)")
    worker = processes.Worker([str(program)], spare=2**60)
    assert worker.ask() is None
    assert worker.failure.startswith("memory: over 0.0 GB")
    assert worker.process.returncode is not None
    assert worker.ask() is None
    assert worker.failure.startswith("memory")  # the first reason is the one that counts
    worker.close()


def test_a_candidate_answers_with_seconds_and_its_memory(tmp_path):
    program = tmp_path / "candidate.py"
    program.write_text(
        f"import sys, time\nsys.path.insert(0, {str(training.PROGRAM.parent)!r})\nimport processes\n"
        "def make():\n    print('what a library prints')\n    held = bytearray(50_000_000)\n"
        "    return lambda: (held, time.sleep(0.1))\nprocesses.answer_in_turn(make)\n"
    )
    worker = processes.Worker([str(program)])
    assert 0.1 <= worker.ask() < 10
    assert worker.ask("peak") - worker.ask("base") > 40_000_000 < worker.resident()
    worker.close()
