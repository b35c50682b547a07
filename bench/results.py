# SPDX-License-Identifier: MIT
"""What was measured, and where: results.json.

    {part: {"machine": {...}, "figures": [{...}], "found": {...}}}

Whoever measures one part anew replaces that one.  Runs of the same kind are
columns, and take a line together.
"""

import datetime
import json
import os
import pathlib
import platform


def machine(is_private):
    """Where and when, for this process."""
    info = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":")[1].strip() for line in info
              if line.startswith("model name")]
    control = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control")
    return {
        "date": str(datetime.date.today()),
        "kernel": f"{platform.system()} {platform.release()}",
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "network": "private" if is_private else "the host's",
        "control": control.read_text().strip(),
        "load": round(os.getloadavg()[0], 2),
    }


def describe(where):
    return (f"{where['kernel']}, {where['cpu']}, {where['cores']} cores, "
            f"{where['date']}; network: {where['network']}, "
            f"{where['control']}; load average {where['load']:.2f}")


def read(path):
    return json.loads(path.read_text()) if path.exists() else {}


def write(path, parts):
    path.write_text(layout(tidy(parts)) + "\n")


def tidy(value):
    """VALUE with four digits to a number, and lists of runs as columns."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: tidy(part) for key, part in value.items()}
    if isinstance(value, list) and are_runs(value):
        return {key: [tidy(run[key]) for run in value] for key in value[0]}
    if isinstance(value, list):
        return [tidy(part) for part in value]
    return value


def are_runs(rows):
    return (len(rows) > 0 and all(isinstance(row, dict) for row in rows)
            and all(row.keys() == rows[0].keys() for row in rows)
            and all(isinstance(cell, (int, float)) for row in rows
                    for cell in row.values()))


def is_flat(value):
    parts = value.values() if isinstance(value, dict) else value
    return not any(isinstance(part, (dict, list)) for part in parts)


def fits_line(value):
    """Whether VALUE is a number, a row or a few columns."""
    if not isinstance(value, (dict, list)) or is_flat(value):
        return True
    return isinstance(value, dict) and all(
        isinstance(part, list) and is_flat(part) for part in value.values())


def layout(value, indent=""):
    if fits_line(value):
        return json.dumps(value)
    inner = indent + " "
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {layout(part, inner)}"
                 for key, part in value.items()]
        start, end = "{", "}"
    else:
        parts = [layout(part, inner) for part in value]
        start, end = "[", "]"
    return (f"{start}\n{inner}" + f",\n{inner}".join(parts)
            + f"\n{indent}{end}")
