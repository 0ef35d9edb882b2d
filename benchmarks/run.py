"""Measures speed compared with the alternatives of users, and writes `docs/performance_*.md`.

    bash benchmarks/peers/make.sh                 # once: environments of the peers
    python -m benchmarks.run loss search          # or one of the other parts, or all

Each part, a module of `benchmarks.parts`, replaces its own section of the file. Each instruction
set has a file of its own, since it decides which kernels TensorFlow and PyTorch choose.
"""

import argparse
import datetime
import importlib
import os
import re
from importlib import metadata
from pathlib import Path

from benchmarks.rows import Part, Row
from pa_keras import cpu, tune_cpu

PARTS = {
    "loss": "The loss step",
    "step": "The training step",
    "train": "Training from files",
    "input": "The input pipeline",
    "evaluation": "Evaluation",
    "search": "Search",
    "export": "The exported model",
    "growth": "Cost as the work grows",
    "settings": "Settings for CPUs",
    "startup": "Start-up",
}
DOCS = Path(__file__).parents[1] / "docs"
HEAD = """\
# Speed on CPUs with {instruction_set}

On a CPU with these instructions, `python -m benchmarks.run all` makes this page, or a section at a
time, after `bash benchmarks/peers/make.sh`; the parts on cars read `$PA_KERAS_DATA/cars196`
([`CARS_CROPS`](datasets.md#cars-196)). The sides of a row take turns in the same minutes on the
same threads. Times are medians, a ratio is the median of the turns' ratios, and the spread contains
the middle half of them. "x its time" is our time divided by the peer's, "x as fast" the peer's
divided by ours; the bars are ratios too. The machine's speed changes from minute to minute, so only
the ratios count.
"""
COLUMNS = ("what", "ours", "peer", "ratio", "spread", "bar", "met")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="+", choices=[*PARTS, "all"])
    parser.add_argument("--turns", type=int, default=7, help="at least 5. Default 7")
    options = parser.parse_args()
    if options.turns < 5:
        parser.error(f"expected --turns of 5 or more; received {options.turns}")
    tune_cpu()  # as the commands do
    file = file_of(cpu.instruction_set())
    print(f"{cpu.instruction_set()}, {cpu.settings_text()}; {file}\n", flush=True)
    for name in PARTS if "all" in options.parts else dict.fromkeys(options.parts):
        part = importlib.import_module(f"benchmarks.parts.{name}").measure(options.turns)
        print(f"{PARTS[name]}\n{as_text(part.rows)}\n", flush=True)
        if any(row.is_missing for row in part.rows):
            print(f"A side is missing: the section in {file.name} stays as it was.\n", flush=True)
        else:
            write_section(file, PARTS[name], as_markdown(part, name))


def as_text(rows: list[Row]) -> str:
    """Formats the table in aligned columns."""
    cells = [COLUMNS, *map(_cells, rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def as_markdown(part: Part, name: str) -> str:
    """Formats the section: table, what the figures include, date, and machine."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *map(_cells, part.rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    when = f"`python -m benchmarks.run {name}`, {datetime.date.today()}, {machine(part.versions)}."
    return "\n\n".join(filter(None, [table, part.more.strip(), part.includes.strip(), when]))


def file_of(instruction_set: str) -> Path:
    """Returns the page of an instruction set; those with and without VNNI share one."""
    return DOCS / f"performance_{_kind(instruction_set).lower().replace('-', '')}.md"


def write_section(path: Path, title: str, content: str) -> None:
    """Replaces the section with this title, and keeps all sections in the order of the parts."""
    old = path.read_text() if path.exists() else HEAD.format(instruction_set=_kind())
    head, *rest = old.strip().split("\n## ")
    sections = dict(each.split("\n\n", 1) for each in rest)
    sections = {name: text.strip() for name, text in sections.items()}
    sections[title] = content
    titles = [each for each in PARTS.values() if each in sections]
    whole = "".join(f"\n## {each}\n\n{sections[each]}\n" for each in titles)
    path.write_text(f"{head.strip()}\n{whole}")


def machine(peers: dict[str, str]) -> str:
    """Describes the processor, its cores, the load, and the relevant versions."""
    names = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    cores = len(os.sched_getaffinity(0))
    load = f"load {os.getloadavg()[1]:.1f} in the last five minutes"
    versions = {each: metadata.version(each) for each in ("tensorflow", "keras", "numpy")} | peers
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    processor = names[0] if names else "a processor"
    kind = f"{cpu.instruction_set()}, {cpu.settings_text()}"
    return f"{cores} cores of {processor} ({kind}), {load}; {listed}"


def _kind(instruction_set: str | None = None) -> str:
    return (instruction_set or cpu.instruction_set()).split()[0]


def _cells(row: Row) -> tuple[str, ...]:
    met = {True: "yes", False: "**no**", None: ""}[row.met]
    return (row.what, row.ours, row.peer, row.ratio, row.spread, row.bar, met)


if __name__ == "__main__":
    main()
