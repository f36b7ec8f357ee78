"""`unlocked list matrix`: per family and scheme the measured figure, or the mathematical reason why there is none."""

from __future__ import annotations

import csv
from collections.abc import Callable
from typing import Any

from unlocked.config import Config, load_config, presets
from unlocked.config.check import refusal, task_of
from unlocked.config.load import model_of, preset_folders

Rows = list[dict[str, Any]]
Tables = dict[str, Rows]  # by their headings
MEASURED = "measured.csv"  # beside the presets
FOLDERS = ("digits", "mnist1d", "fashion_mlp", "fashion_cnn")  # a preset per scheme in each
ON, REFUSED, UNKNOWN = "measured on", "refused: ", "not measured"


def matrix() -> Rows:
    """Family x scheme. Reasons are those by which a run is refused (`config.check.refusal`); figures those of the
    family's first row in `experiments/measured.csv`, of a family without any the bars of the preset that promises the
    most (`expect`)."""
    from unlocked.schemes import SCHEMES
    from unlocked_models import MODELS

    figures = {row["family"]: row for row in reversed(measured())}
    families = sorted({MODELS.facts(name)["family"] for name in MODELS})
    promising, rows = _promising({family for family in families if family not in figures}), []
    for family in families:
        preset, config = promising.get(family, ("", None))
        own = figures.get(family)
        if own is None:
            own = {"preset": preset, **_promises(config)}
        else:  # reasons are of the preset that is shown
            config = load_config(own["preset"] if own["preset"] in presets() else f"{own['preset']}/backprop")
        on = ", ".join(own[key] for key in ("preset", "metric") if own.get(key))
        task = None if config is None else task_of(config)
        cells = {scheme: _cell(scheme, family, task, own.get(scheme)) for scheme in SCHEMES}
        rows.append({"family": family, ON: on or UNKNOWN, **cells})
    return rows


def measured() -> list[dict[str, str]]:
    """The rows of `experiments/measured.csv`."""
    path = next((folder / MEASURED for folder in reversed(preset_folders()) if (folder / MEASURED).is_file()), None)
    if path is None:
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader((line for line in file if not line.startswith("#")), restval=""))


def with_notes(rows: Rows) -> tuple[Tables, list[str]]:
    """One table of means without their spread, schemes with the most figures first; as lines below it what they are
    of, and the reasons."""
    reasons: list[str] = []

    def cell(value: str) -> str:
        if value == UNKNOWN:
            return "—"
        if not value.startswith(REFUSED):
            return short(value)
        reason = value.removeprefix(REFUSED).partition(": ")[2]  # without what it is that cannot be trained
        if reason not in reasons:
            reasons.append(reason)
        return f"no ({reasons.index(reason) + 1})"

    def missing(scheme: str) -> int:
        return sum(row[scheme] == UNKNOWN or row[scheme].startswith(REFUSED) for row in rows)

    schemes = sorted((key for key in rows[0] if key not in ("family", ON)), key=missing) if rows else []
    shown = [{"family": row["family"], **{scheme: cell(row[scheme]) for scheme in schemes}} for row in rows]
    of = [f"{row['family']}: {row[ON]}" for row in rows if row[ON] != UNKNOWN]
    why = [f"({i}) {reason}" for i, reason in enumerate(reasons, 1)]
    return {"": shown}, [*of, f"—: {UNKNOWN}", *why]


def means(rows: Rows) -> tuple[Tables, list[str]]:
    """A table for each metric: of measured presets the means without their spread, under the schemes that any has."""
    tables: Tables = {}
    for row in rows:
        tables.setdefault(row["metric"], []).append(
            {key: short(value) for key, value in row.items() if key not in ("family", "metric")}
        )
    for metric, shown in tables.items():
        some = [key for key in shown[0] if any(row[key] != "—" for row in shown)]
        tables[metric] = [{key: row[key] for key in some} for row in shown]
    return tables, ["Means over seeds 0 to 2; --json has the spreads too.", f"—: {UNKNOWN}, or refused (`list matrix`)"]


def short(value: str) -> str:
    return value.partition(" [")[0] or "—"


SHOWN: dict[str, Callable[[Rows], tuple[Tables, list[str]]]] = {"matrix": with_notes, "measured": means}


def _cell(scheme: str, family: str, task: str | None, figure: str | None) -> str:
    why = refusal(scheme, family, task)
    return figure or UNKNOWN if why is None else f"{REFUSED}cannot train {why}"


def _promising(families: set[str]) -> dict[str, tuple[str, Config]]:
    """Of each of these families the preset with the most bars."""
    from unlocked_models import MODELS

    found: dict[str, tuple[str, Config]] = {}
    for name in presets():
        if name.endswith("base"):  # what the others of its folder extend
            continue
        model = model_of(name)
        if model is None or model not in MODELS or (family := MODELS.facts(model)["family"]) not in families:
            continue
        config = load_config(name)  # takes longer
        if family not in found or len(config.expect) > len(found[family][1].expect):
            found[family] = name, config
    return found


def _promises(config: Config | None) -> dict[str, str]:
    """The metric that all its bars are of, and the bar of each scheme."""
    if config is None or not config.expect:
        return {}
    metric = next(name for name in next(iter(config.expect.values())) if name.startswith("test/"))
    signs = {"min": "≥", "max": "≤"}
    bars = {
        scheme: ", ".join(f"{signs[bound]} {value:g}" for bound, value in bounds[metric].items())
        for scheme, bounds in config.expect.items()
        if metric in bounds
    }
    return {"metric": f"bar of {metric}", **bars}
