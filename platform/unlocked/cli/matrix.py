"""`unlocked list matrix`: per family and scheme what a preset promises of the test split, or why the cell cannot be.

A promise is a preset's `expect`, the bar that means over three seeds have to pass (`unlocked sweep studies/matrix`).
Reasons are those by which a run would be refused: the scheme's for a family, and the task's for a scheme.
"""

from __future__ import annotations

from typing import Any

from unlocked.config import Config, load_config, presets

Rows = list[dict[str, Any]]
TRAINS = "trains"  # and no preset says how well


def matrix() -> Rows:
    """A row per family, of the preset of it that promises the most."""
    from unlocked.schemes import SCHEMES
    from unlocked_models import MODELS

    promising: dict[str, tuple[str, Config]] = {}
    for name in presets():
        if name.endswith("base"):  # what the others of its folder extend
            continue
        config = load_config(name)
        family = MODELS.facts(config.model["name"])["family"]
        if family not in promising or len(config.expect) > len(promising[family][1].expect):
            promising[family] = name, config
    rows = []
    for family in sorted({MODELS.facts(name)["family"] for name in MODELS}):
        preset, config = promising.get(family, ("", None))
        of_task = {} if config is None else _refused_by_task(config)
        metric, promises = _promises(config)
        cells = {
            scheme: SCHEMES.get(scheme).refuses.get(family) or of_task.get(scheme) or promises.get(scheme, TRAINS)
            for scheme in SCHEMES
        }
        rows.append({"family": family, "preset": preset, "metric": metric} | cells)
    return rows


def with_notes(rows: Rows) -> tuple[Rows, list[str]]:
    """The rows with a number in place of each reason, the reasons by number, and what the figures are of."""
    reasons: list[str] = []
    measured = [f"{row['family']}: test/{row['metric']} of {row['preset']}" for row in rows if row["metric"]]
    short = []
    for row in rows:
        cells = {"family": row["family"]}
        for scheme in list(row)[3:]:
            cells[scheme] = text = row[scheme]
            if text == TRAINS or text[0] in "≥≤":
                continue
            if text not in reasons:
                reasons.append(text)
            cells[scheme] = f"[{reasons.index(text) + 1}]"
        short.append(cells)
    return short, [f"[{i}] {text}" for i, text in enumerate(reasons, 1)] + measured


def _refused_by_task(config: Config) -> dict[str, str]:
    from unlocked.data import DATA
    from unlocked.tasks import TASKS

    return TASKS.get(config.task or DATA.facts(config.data.name)["task"]).refuses


def _promises(config: Config | None) -> tuple[str, dict[str, str]]:
    """The metric that all its promises are of, and the bar of each scheme."""
    if config is None or not config.expect:
        return "", {}
    metric = next(name for name in next(iter(config.expect.values())) if name.startswith("test/"))
    bars = {scheme: bounds[metric] for scheme, bounds in config.expect.items() if metric in bounds}
    return metric.removeprefix("test/"), {
        scheme: ", ".join(f"{'≥' if bound == 'min' else '≤'} {value:g}" for bound, value in bar.items())
        for scheme, bar in bars.items()
    }
