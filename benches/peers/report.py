"""The table of results, in Markdown."""

import datetime
import os
import platform
import statistics
import subprocess
from pathlib import Path

from install import CALL

ROOT = Path(__file__).resolve().parents[2]
LOAD = os.getloadavg()[0]


class Results:
    """Measurements of rows: engine name -> one value per round."""

    def __init__(self):
        self.rows = []  # (row, {engine name: [value, ...]}, {engine name: why it failed})
        self.limits = []  # of the machine, before each row: (GB/s, GMAC/s)

    def add(self, row, values, failures):
        self.rows.append((row, values, failures))

    def write(self, path, engines, args):
        """Writes the file anew, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.tmp")
        unfinished.write_text(self.text(engines, args))
        os.replace(unfinished, path)

    def text(self, engines, args):
        return "\n".join([*head(engines, args), *self.table(), *self.failures(), *self.machine()]) + "\n"

    def table(self):
        lines = ["| row | model | test | oribi | peer | its figure | ratio | goal |", "|---|---|---|---|---|---|---|---|"]
        for row, values, _ in self.rows:
            for name, theirs in values.items():
                ours = values.get("oribi")
                if name == "oribi" or not ours or not theirs:
                    continue
                ratio = statistics.median(ours) / statistics.median(theirs)
                goal = row.goal if name.startswith("llama.cpp") and "wheel" not in name else ""
                cells = [row.name, model(row), test(row), figure(row, ours), name, figure(row, theirs), f"{ratio:.2f}", goal]
                lines.append("| " + " | ".join(cells) + " |")
        return lines

    def failures(self):
        lines = [f"* {row.name}: {name}: {why.splitlines()[-1]}" for row, _, failed in self.rows for name, why in failed.items()]
        return ["", "Not measured:", "", *lines] if lines else []

    def machine(self):
        """What the machine gave; rows of times when it gave half are not to be compared with others."""
        memory, macs = ([f"{least:.0f}", f"{most:.0f}"] for least, most in ((min(of), max(of)) for of in zip(*self.limits)))
        return ["", f"Before each row the machine read {'..'.join(memory)} GB/s from memory and did {'..'.join(macs)} GMAC/s with its fastest "
                "operands (`oribi bench --machine`)."]


def head(engines, args):
    revision = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    return [
        f"# Beside other runtimes, {datetime.date.today()}", "",
        f"* machine: {cpu_name()}, {os.cpu_count()} CPUs, {platform.system()} {platform.release()} {platform.machine()}; "
        f"{args.threads} threads",
        f"* load before the run: {LOAD:.2f}; other work on the machine falsifies everything below",
        f"* revision: {revision or 'unknown'}",
        *[f"* {engine.name}: {engine.version}" for engine in engines],
        f"* command: `{CALL}`", "",
        f"Medians of {args.rounds} rounds in which the engines took turns, each in a process of its own (least..most). Speed is in "
        "tokens per second: `ppN` a prompt of N tokens, `tgN` N generated tokens, `x B` by B sequences together, `@ dN` after N "
        "tokens of context. `ratio` is oribi's median over the peer's; a time and an amount of memory are better when it is less "
        "than 1. `goal` is the ratio wanted at least, and the one aimed at.", "",
    ]


def cpu_name():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def model(row):
    return row.model.removeprefix("synth:").replace(":", " ").removesuffix(".gguf")


def test(row):
    if row.measure != "speed":
        return row.test
    arithmetic = f", {row.numerics}" if row.n_prompt else ""
    return row.test + arithmetic + (f", {row.isa} alone" if row.isa else "")


def figure(row, values):
    factor, decimals, unit = {"speed": (1, 1, ""), "seconds": (1e3, 0, " ms"), "bytes": (2**-20, 0, " MiB")}[row.measure]
    number = lambda value: f"{value * factor:.{decimals}f}"
    return f"{number(statistics.median(values))}{unit} ({number(min(values))}..{number(max(values))})"
