# SPDX-License-Identifier: MIT
"""What all parts of the benchmark share: sums, tables, a program's run."""

import os
import statistics
import sys
import time


SLICES = 5  # of a round, each contender in turn: the machine's speed drifts


class Broke(Exception):
    """A contender failed; the others are measured all the same."""


def middle(runs, key):
    return statistics.median(run[key] for run in runs)


def ratio(found, name, other, key="us"):
    """NAME to OTHER: the median of those taken together; None without both."""
    if name not in found or other not in found:
        return None
    return statistics.median(
        a[key] / b[key] for a, b in zip(found[name], found[other]))


def show(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def table(title, head, rows):
    print(f"\n{title}\n")
    widths = [max(len(row[i]) for row in [head, *rows])
              for i in range(len(head))]
    for row in [head, *rows]:
        first = row[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        print("  ".join([first, *rest]))
    sys.stdout.flush()


QUIET = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0)
         for fd in range(3)]


def timed(command, good=(0,)):
    """Run COMMAND, its input and output nowhere: the time from start to end."""
    start = time.perf_counter()
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=QUIET)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    took = (time.perf_counter() - start) * 1e3
    if status not in good:
        raise Broke(f"{' '.join(command)}: status {status}")
    return {"ms": took}
