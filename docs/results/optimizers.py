"""The tables of docs/results/optimizers.md, from `experiments/studies/optimizers.csv`.

    python docs/results/optimizers.py [FOLDER ...]

With folders of `unlocked sweep studies/optimizers` and its siblings, first takes their figures into that file, in place
of what it has of a study; the study need not be over.
"""

import csv
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

from unlocked.studies.status import status

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "experiments" / "studies" / "optimizers.csv"
PAGE = ROOT / "docs" / "results" / "optimizers.md"
BEGIN, END = "<!-- made by optimizers.py -->\n", "<!-- end -->\n"
FIELDS = ("study", "scheme", "optimizer", "rate", "seed", "validation", "test")
SCHEMES = ("backprop", "cdni", "dni", "dfa", "local", "frozen")
TITLES = {
    "optimizers": "Digits, MLP 64-32x4-10, 4 modules, 10 epochs (180 steps)",
    "optimizers_fashion": "Fashion-MNIST, MLP 784-256x4-10, 4 modules, one epoch (375 steps)",
    "optimizers_mnist1d": "MNIST-1D, MLP 40-256x4-10, 4 modules, 10 epochs",
}
Row = dict[str, str]


def take(folder: Path) -> None:
    """The trials of a study that are done."""
    found = status(str(folder)).summary["rows"]
    rows = [row for row in figures() if row["study"] != folder.name]
    for row in found:
        optimizer, _, rate = row.group["optimizer"].partition(" ")
        for seed, metrics in row.seeds.items():
            values = [f"{metrics[f'{split}/accuracy']:.4f}" for split in ("val", "test")]
            rows.append(
                dict(zip(FIELDS, (folder.name, row.group["scheme"], optimizer, rate, str(seed), *values), strict=True))
            )
    rows.sort(key=lambda row: [row[field] for field in FIELDS])
    with FIGURES.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def figures() -> list[Row]:
    if not FIGURES.exists():
        return []
    with FIGURES.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def tables() -> str:
    """One for each study that has figures of every scheme."""
    rows = figures()
    of_study = {study: [row for row in rows if row["study"] == study] for study in TITLES}
    return "\n".join(
        table(TITLES[study], its) for study, its in of_study.items() if {row["scheme"] for row in its} >= set(SCHEMES)
    )


def table(title: str, rows: list[Row]) -> str:
    cells = {
        (optimizer, scheme): cell([row for row in rows if (row["optimizer"], row["scheme"]) == (optimizer, scheme)])
        for optimizer in order(row["optimizer"] for row in rows)
        for scheme in SCHEMES
    }
    most = max(n for _, n in cells.values())
    lines = [f"## {title}", "", f"| {most} seed{'s' * (most > 1)} | {' | '.join(SCHEMES)} |", "|" + "---|" * 7]
    for optimizer in order(row["optimizer"] for row in rows):
        shown = []
        for scheme in SCHEMES:
            text, n = cells[optimizer, scheme]
            text += f" ({n})" if 0 < n < most else ""
            shown.append(f"*{text}*" if scheme == "frozen" and n else text)
        lines.append(f"| {optimizer} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def order(names: Iterable[str]) -> list[str]:
    known = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "muon")
    return sorted(set(names), key=lambda name: known.index(name) if name in known else len(known))


def cell(rows: list[Row]) -> tuple[str, int]:
    """Test accuracy at the rate that is better on validation data, of the seeds that both rates have; their number."""
    rates = sorted({row["rate"] for row in rows}, key=float)
    by_rate = {rate: {row["seed"]: row for row in rows if row["rate"] == rate} for rate in rates}
    seeds = set.intersection(*(set(its) for its in by_rate.values())) if len(rates) > 1 else set()
    if not seeds:
        return "—", 0
    best = max(rates, key=lambda rate: fmean(float(by_rate[rate][seed]["validation"]) for seed in seeds))
    tests = [100 * float(by_rate[best][seed]["test"]) for seed in seeds]
    spread = f" [{min(tests):.1f}, {max(tests):.1f}]" if len(tests) > 1 else ""
    return f"{fmean(tests):.1f}{spread} at {best}", len(seeds)


def page(text: str) -> str:
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + tables() + END + rest.partition(END)[2]


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        take(Path(folder).resolve())
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
