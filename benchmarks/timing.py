"""Timing that a shared machine does not spoil: candidates alternate within one run, and medians are compared."""

import importlib.metadata
import os
import platform
import statistics
import time


def alternate(candidates, rounds, warm_up=2, clock=time.perf_counter):
    """Times functions in turn, round after round.

    Args:
        candidates: dict name -> function of no arguments that returns when its work is done.
        rounds: int, how often each is timed.
        warm_up: int, how often each is called before, untimed (compilation falls into these).
        clock: function that gives seconds; `time.process_time` for one thread on a machine that others use.

    Returns:
        Dict name -> list of seconds, one a round.
    """
    for _ in range(warm_up):
        for function in candidates.values():
            function()
    seconds = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, function in candidates.items():
            start = clock()
            function()
            seconds[name].append(clock() - start)
    return seconds


def medians(seconds):
    """Returns dict name -> median milliseconds."""
    return {name: 1000 * statistics.median(times) for name, times in seconds.items()}


def ratio(seconds, other, own):
    """Returns the median over rounds of other's time over own's time in the same round: above 1, own is faster."""
    return statistics.median(a / b for a, b in zip(seconds[other], seconds[own], strict=True))


def machine(*packages):
    """Returns what a figure must be dated with: processor, cores, Python and package versions."""
    processor = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        processor = models[0] if models else processor
    versions = {package: importlib.metadata.version(package) for package in packages}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        **versions,
    }
