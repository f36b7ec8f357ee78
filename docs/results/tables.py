"""The table of docs/results/models.md, from `experiments/measured.csv`: `python docs/results/tables.py`.

With the folder of a finished `unlocked sweep studies/matrix` as its argument, first takes that study's means into
`experiments/measured.csv`: a row per preset, in the page's units; rows of other presets stay.
"""

import csv
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from unlocked.cli.matrix import FOLDERS, MEASURED, measured
from unlocked.config import Config, load_config
from unlocked.config.check import refusal
from unlocked.data import DATA
from unlocked.studies.expectations import MATRIX
from unlocked_models import MODELS

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "experiments" / MEASURED
PAGE = ROOT / "docs" / "results" / "models.md"
BEGIN, END = "<!-- made by tables.py -->\n", "<!-- end -->\n"
SCHEMES = (
    "backprop",
    "cdni",
    "dni",
    "dfa",
    "local",
    "frozen",
    "cd",
    "pcd",
    "denoise",
    "stacking",
    "hebbian",
    "evolution",
)  # columns of the file
ON_PAGE = SCHEMES[:6]  # the others have pages of their own
UNITS = {  # metric: factor, as shown, digits
    "accuracy": (100, "accuracy, %", 1),
    "mse": (1000, "mse x 1000", 1),
    "frechet": (1, "Frechet distance", 1),
    "asked": (100, "asked class, %", 1),
    "local/loss/module_0": (1, "objective x 2", 3),
}
Row = dict[str, str]


def take(folder: Path) -> None:
    """The study's table (`matrix.md` in its folder) into the file of figures."""
    rows = {row["preset"]: row for row in measured()}
    head, _, *lines = (cells(line) for line in (folder / MATRIX).read_text(encoding="utf-8").splitlines())
    for preset, metric, *values in lines:
        factor, shown, digits = UNITS.get(metric.removeprefix("test/"), (1, metric.removeprefix("test/"), 2))
        row = rows.setdefault(preset, {"family": family(config_of(preset)), "preset": preset})
        row["metric"] = shown
        for scheme, value in zip(head[2:], values, strict=True):
            if scheme in SCHEMES and (numbers := [factor * float(n) for n in re.findall(r"-?\d[\d.e-]*", value)]):
                # the study's table gives four digits
                mean, *ends = (f"{number:.{digits if number < 1000 else 0}f}" for number in numbers)
                row[scheme] = f"{mean} [{', '.join(ends)}]" if ends else mean
    comments = [line for line in FIGURES.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    with FIGURES.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"{line}\n" for line in comments)
        writer = csv.DictWriter(file, ("family", "preset", "metric", *SCHEMES), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())


def table() -> str:
    """All presets with figures, family by family; ✓ and ✗ compare a mean with the preset's bar."""
    lines = [f"| | metric | {' | '.join(ON_PAGE)} |", "|" + "---|" * (len(ON_PAGE) + 2)]
    rows = [row for row in measured() if any(row.get(scheme) for scheme in ON_PAGE)]
    order = list(dict.fromkeys(row["family"] for row in rows))
    for row in sorted(rows, key=lambda row: order.index(row["family"])):
        config = config_of(row["preset"])
        shown = [cell(row, scheme, config) for scheme in ON_PAGE]
        lines.append(f"| {' | '.join([row['preset'], row['metric'], *shown])} |")
    return "\n".join(lines) + "\n"


def cell(row: Row, scheme: str, config: Config) -> str:
    figure = row.get(scheme)
    if not figure:
        task = config.task or str(DATA.facts(config.data.name)["task"])
        also = MODELS.facts(config.model["name"])["also"]
        return "—" if refusal(scheme, row["family"], task, also) is None else "refused"
    figure = f"*{figure}*" if scheme == "frozen" else figure
    bounds = config.expect.get(scheme, {}) if row["preset"] not in FOLDERS else {}
    return figure + "".join(mark(row, scheme, bounds.get(metric)) for metric in bounds if shows(row, metric))


def shows(row: Row, metric: str) -> bool:
    name = metric.removeprefix("test/")
    return row["metric"] == UNITS.get(name, (1, name, 2))[1]


def mark(row: Row, scheme: str, bound: dict[str, float] | None) -> str:
    factor = next((factor for factor, shown, _ in UNITS.values() if shown == row["metric"]), 1)
    mean = float(row[scheme].partition(" ")[0].replace("−", "-")) / factor
    bound = bound or {}
    return " ✓" if bound.get("min", mean) <= mean <= bound.get("max", mean) else " ✗"


def config_of(preset: str) -> Config:
    return load_config(f"{preset}/backprop" if preset in FOLDERS else preset)


def family(config: Config) -> str:
    return str(MODELS.facts(config.model["name"])["family"])


def cells(line: str) -> list[str]:
    return [each.strip() for each in line.strip("|\n").split("|")]


def page(text: str, made: Iterable[str]) -> str:
    """The page with its table made anew."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + "".join(made) + END + rest.partition(END)[2]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        take(Path(sys.argv[1]))
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), table()), encoding="utf-8")
