#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draw echo.svg from the echo part of results.json, with gnuplot.

    python3 bench/plot.py [FILE]    results.json of the benchmark's last run
"""

import math
import pathlib
import re
import shutil
import statistics
import subprocess
import sys

from results import read
from servers import RAW

HERE = pathlib.Path(__file__).resolve().parent
README = HERE.parent / "README.md"

SIZES = {64: "64 bytes", 16384: "16 KiB"}
BARE = "best bare loop"  # of RAW, cell by cell
# The colours of Okabe and Ito, which the colour-blind tell apart, a little
# darker: they must do for text as well.
LINES = {
    "cleat": "#0063a8",
    BARE: "#000000",
    "libev": "#008a64",
    "libuv": "#b97f00",
    "libevent": "#cc5200",
    "go": "#3d9bd1",
    "threads": "#6e6e6e",
    "asyncio": "#b0628f",
}
NAMES = {"go": "Go", "threads": "a thread each"}
LABEL_GAP = 0.066  # of labels, in decades


def series(cells, size):
    """For each of LINES, {connections: us for a message} of SIZE."""
    found = {name: {} for name in LINES}
    for cell in cells:
        if cell["size"] != size:
            continue
        us = {name: statistics.median(runs["us"])
              for name, runs in cell["runs"].items()}
        raw = [us[name] for name in RAW if name in us]
        if raw:
            us[BARE] = min(raw)
        for name in LINES:
            if name in us:
                found[name][cell["connections"]] = us[name]
    return {name: points for name, points in found.items() if points}


def spread(wanted):
    """Heights for labels, as near to WANTED as they go without touching."""
    order = sorted(wanted, key=wanted.get)
    groups = [] # [names, the height of their middle], that touch within
    for name in order:
        groups.append([[name], math.log10(wanted[name])])
        while len(groups) > 1 and touch(*groups[-2:]):
            groups[-2:] = [merge(*groups[-2:])]
    return {name: 10 ** (height + (i - (len(names) - 1) / 2) * LABEL_GAP)
            for names, height in groups for i, name in enumerate(names)}


def touch(low, high):
    return (high[1] - low[1]
            < LABEL_GAP * (len(low[0]) + len(high[0])) / 2)


def merge(low, high):
    count = len(low[0]) + len(high[0])
    height = low[1] * len(low[0]) + high[1] * len(high[0])
    return [low[0] + high[0], height / count]


def made_on(where):
    """As it stands in the picture, and in README."""
    return f"{where['kernel']}, {where['cpu']}, {where['date']}"


def points_of(line):
    return "".join(f"{conns} {us:.4g}\n"
                   for conns, us in sorted(line.items())) + "e\n"


def label(name, height):
    text = NAMES.get(name, name)
    if name == "cleat":
        text = f"{{/:Bold {text}}}"
    return (f'set label "{text}" at 6400,{height:.4g} left '
            f'textcolor rgb "{LINES[name]}"\n')


def style(name):
    width, size = (4, 0.75) if name == "cleat" else (2, 0.45)
    return (f"with linespoints pt 7 ps {size} lw {width} "
            f'dt {3 if name == BARE else 1} lc rgb "{LINES[name]}"')


def panel(size, lines):
    """The commands that draw the lines of messages of SIZE."""
    heights = spread({name: line[max(line)] for name, line in lines.items()})
    # What matters comes last, on top of the others.
    order = sorted(lines, key=lambda name: (name == "cleat", name == BARE))
    return ("".join(label(name, heights[name]) for name in lines)
            + f'set label "{{/:Bold messages of {SIZES[size]}}}" '
            "at graph 0,1.06 left\n"
            + "plot " + ", ".join(f"'-' {style(name)}" for name in order)
            + "\n" + "".join(points_of(lines[name]) for name in order)
            + "unset label\n")


def script(part):
    panels = {size: series(part["found"]["cells"], size) for size in SIZES}
    top = max(us for lines in panels.values() for line in lines.values()
              for us in line.values())
    return f"""
set terminal svg size 1000,520 background "white" \\
	font "Helvetica,Arial,sans-serif,13"
set encoding utf8
set multiplot layout 1,2 margins 0.045,0.885,0.125,0.80 spacing 0.155,0
set label 1 "{{/:Bold=18 CPU time of an echo server for a message, in µs}}" \\
	at screen 0.014,0.95 left
set label 2 "server and clients on one core; {made_on(part['machine'])}" \\
	at screen 0.014,0.90 left noenhanced textcolor rgb "#555555"
set logscale xy
set xrange [0.85:5900]
set yrange [1:{1.15 * top:.3g}]
set xtics (1, 50, 500, 5000)
set ytics (1, 2, 3, 5, 10, 20, 30, 50, 100)
set tics nomirror out scale 0.4 textcolor rgb "#333333"
set grid ytics lt 1 lw 0.7 lc rgb "#e2e2e2"
set border 3 lc rgb "#888888"
set xlabel "connections" offset 0,0.4 textcolor rgb "#333333"
unset key
""" + "".join(panel(size, lines) for size, lines in panels.items())


def tell_readme(where):
    """README says of what machine the picture is."""
    text = README.read_text()
    README.write_text(re.sub("(?m)^Measured on .*$",
                             lambda _: f"Measured on {made_on(where)}.",
                             text))


def draw(path):
    """Draw what is in the results at PATH, beside them."""
    if not shutil.which("gnuplot"):
        print("left out: the plot (no gnuplot)")
        return
    part = read(path)["echo"]
    svg = subprocess.run(["gnuplot"], input=script(part), text=True,
                         check=True, stdout=subprocess.PIPE).stdout
    path.with_name("echo.svg").write_text(svg)
    if path.parent == HERE:
        tell_readme(part["machine"])


if __name__ == "__main__":
    draw(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1
         else HERE / "results.json")
