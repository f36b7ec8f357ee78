"""The pages of runs, studies and experiments in MLflow's dashboard: Markdown that answers what one asks of them.

Of a run: how good was it beside its control and its baseline; did the workers wait, how fast was it; how is it
repeated, loaded, served; what differs from its preset; what did it warn of. Pure text: `postings.py` writes it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from shlex import quote
from typing import Any
from urllib.parse import quote as quote_url

from unlocked.markdown import code, fenced
from unlocked.metrics import by_module, is_share
from unlocked.shell import wrapped
from unlocked.tracking.identity import BASELINE, CONTROL

_ROOM = "&nbsp;\n\n"  # below a table the dashboard leaves none
_LONG = 76  # letters: a longer line pushes the facts beside it out of the page
_ENOUGH = 10  # completed trials from which on importances say something


@dataclass(frozen=True)
class Ran:
    """A run as its page needs it: from MLflow, whoever trained it."""

    id: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]

    @property
    def scheme(self) -> str:
        return self.tags.get("scheme", "")

    def result(self) -> float:
        return self.metrics.get(f"test/{self.tags.get('monitor')}", math.nan)


@dataclass(frozen=True)
class Mean:
    """Of one configuration over its seeds."""

    value: float
    n: int

    def words(self, metric: str) -> str:
        return (
            f"{shown(self.value, metric)} (mean of {self.n})" if self.n > 1 else f"{shown(self.value, metric)} (n = 1)"
        )


@dataclass(frozen=True)
class Peers:
    """The finished runs that differ from one in scheme and seed alone; one run per configuration and seed."""

    runs: Sequence[Ran] = field(default_factory=tuple)

    def of(self, config_hash: str | None) -> Mean | None:
        return _mean([run for run in self.runs if run.tags.get("config_hash") == config_hash])

    def scheme(self, name: str, falls: bool) -> Mean | None:
        """The best of a scheme's configurations, among those with the most seeds."""
        hashes = dict.fromkeys(run.tags.get("config_hash") for run in self.runs if run.scheme == name)
        found = [mean for each in hashes if (mean := self.of(each)) is not None]
        return max(found, key=lambda mean: (mean.n, -mean.value if falls else mean.value), default=None)

    def schemes(self) -> list[str]:
        return list(dict.fromkeys(run.scheme for run in self.runs))


def shown(value: float, metric: str) -> str:
    """
    >>> shown(0.9253, "test/accuracy"), shown(1.2345678, "test/mse")
    ('92.5 %', '1.235')
    """
    return f"{100 * value:.1f} %" if is_share(metric) else f"{value:.4g}"


def sentence(run: Ran, peers: Peers, falls: bool) -> str:
    """The result beside control and baseline."""
    tags, metric = run.tags, f"test/{run.tags.get('monitor')}"
    own = peers.of(tags.get("config_hash"))
    what = (
        f"{_cell(tags.get('model', ''))} on {_cell(tags.get('dataset', ''))} under {_cell(run.scheme)}, "
        f"{_count(tags.get('modules'), 'module')}, lag {_cell(tags.get('lag', '?'))}, "
        f"seed {_cell(tags.get('seed', '?'))}"
    )
    result = f"**{what}: {metric.replace('/', ' ')} {shown(run.result(), metric)}**"
    beside = [f"this configuration {own.words(metric)}"] if own is not None and own.n > 1 else []
    for name, role in ((BASELINE, "baseline"), (CONTROL, "control")):
        if run.scheme == name:
            beside.append(f"this is the {role}")
            continue
        mean = peers.scheme(name, falls)
        beside.append(f"{role} {name} {mean.words(metric)}" if mean else f"no {role} ({name}) of this setting yet")
        if role == "control" and mean is not None and own is not None:
            better = own.value < mean.value if falls else own.value > mean.value
            beside[-1] += (
                "" if better else ": **not above its control: what it taught the lower modules does not help**"
            )
    return f"{result}; {'; '.join(beside)}."


def run_page(run: Ran, peers: Peers, page: Mapping[str, Any]) -> str:
    tags, metrics = run.tags, run.metrics
    waits = by_module(metrics, "time/wait_fraction/")
    speed = metrics.get("time/median_steps_per_second")
    first = metrics.get("time/first_step_seconds")
    commits = [
        f"{name} {tags[key][:10]}{' with changes' if tags.get(key.replace('commit', 'dirty')) == 'true' else ''}"
        for name, key in (("unlocked", "platform.git.commit"), ("working directory", "git.commit"))
        if tags.get(key)
    ]
    rows = {
        "waiting": ", ".join(f"module {k} {100 * value:.0f} %" for k, value in sorted(waits.items()))
        or "none: modules in one process wait for nobody",
        "speed": ", ".join(
            [
                *([f"{speed:,.0f} steps/s"] if speed is not None else []),
                *([f"first step after {first:.1f} s"] if first is not None else []),
                *([f"{metrics['time/total_seconds']:.0f} s in all"] if "time/total_seconds" in metrics else []),
            ]
        ),
        "parameters": f"{int(tags['parameters']):,} in {_count(tags.get('modules'), 'module')}, blocks "
        f"{_cell(tags.get('partition', '?'))}"
        if tags.get("parameters", "").isdigit()
        else "",
        "code": _cell(f"unlocked {tags.get('version.unlocked', '?')}" + "".join(f", {each}" for each in commits)),
        "machine": _cell(", ".join(filter(None, (tags.get("host"), tags.get("cpu"), tags.get("gpu"))))),
        "differs from its preset": ", ".join(code(str(each)) for each in page.get("differs", []))
        or (page.get("preset") and (f"nothing: {code(str(page['preset']))} as it is")),
    }
    folder = str(page.get("run_dir", ""))
    parts = [
        sentence(run, peers, page.get("direction") == "min"),
        "\n".join(["| | |", "|---|---|", *(_row(key, value) for key, value in rows.items() if value)]),
    ]
    if warnings := page.get("warnings"):
        parts.append("**Warnings**\n\n" + "\n".join(f"- {_cell(str(each))}" for each in warnings[:10]))
    steps = [("repeat it", str(page["repeat"]))] if page.get("repeat") else []
    steps += [("test it again", f'RUN={quote(folder)}\nunlocked evaluate "$RUN"')]
    if page.get("model"):
        steps += [
            ("new inputs", 'unlocked predict "$RUN" FILE'),
            ("the plain torch net", "python -c 'import sys, unlocked; net = unlocked.load(sys.argv[1])' \"$RUN\""),
            ("serve it", 'mlflow models serve -m "$RUN/model" --env-manager local'),
        ]
    commands = "\n".join(f"# {words}\n{wrapped(command, _LONG)}" for words, command in steps)
    parts.append(f"{_ROOM}**Repeat it, load it, serve it**\n\n{fenced(commands)}")
    parts += [_picture(f"figures/inline/{name}.png", run.id) for name in page.get("figures", [])]
    return "\n\n".join(parts) + "\n"


def study_page(run_id: str, page: Mapping[str, Any], links: Mapping[str, str]) -> str:
    """`links`: of run folders to their pages, as far as they are in the store."""
    metric, complete = str(page.get("metric", "")), int(page.get("complete", 0))
    counts = [f"{complete} of {page.get('trials', 0)} trials complete"]
    counts += [f"{page['pruned']} pruned"] if page.get("pruned") else []
    counts += [f"{page['failed']} failed"] if page.get("failed") else []
    best = page.get("best") or []
    lead = f"**{_cell(str(page.get('study', 'study')))}: {metric.replace('/', ' ')}"
    lead += f" {shown(best[0]['value'], metric)}** (by trial {_cell(best[0]['label'])})" if best else "**, no trial yet"
    lines = [_row("place", metric, "trial", "runs"), "|---|---|---|---|"]
    for place, each in enumerate(best[:10], start=1):
        runs = ", ".join(
            f"[{_cell(words)}]({links[name]})" if name in links else _cell(words) for name, words in each["runs"][:6]
        )
        lines.append(_row(str(place), shown(each["value"], metric), _cell(each["label"]), runs))
    parts = [f"{lead}; {', '.join(counts)}.", "\n".join(lines)] if best else [f"{lead}; {', '.join(counts)}."]
    if page.get("best_config"):
        parts.append(
            f"{_ROOM}**Train the best again**\n\n"
            + fenced(wrapped(f"unlocked train {quote(str(page['best_config']))}", _LONG))
            + "\n\nAlso among the artifacts: `best.yaml`."
        )
    for name in page.get("figures", []):
        if name.rpartition("/")[2].startswith("importances"):
            parts.append(
                f"Importances are of {complete} completed trials"
                + ("." if complete >= _ENOUGH else f": with fewer than {_ENOUGH} they say little.")
            )
        parts.append(_picture(f"inline/{name}.png", run_id))
    return "\n\n".join(parts) + "\n"


def experiment_line(run: Ran, peers: Peers, falls: bool) -> str:
    """The schemes of the latest setting, the best first and the control last."""
    metric = f"test/{run.tags.get('monitor')}"
    found = [(name, mean) for name in peers.schemes() if (mean := peers.scheme(name, falls)) is not None]
    found.sort(key=lambda each: (each[0] == CONTROL, each[1].value if falls else -each[1].value))
    words = [
        f"{'**' * (place == 0)}{_cell(name)} {shown(mean.value, metric)}{'**' * (place == 0)}"
        + (" (control)" if name == CONTROL else "")
        + f" n={mean.n}"
        for place, (name, mean) in enumerate(found)
    ]
    model, data = _cell(run.tags.get("model", "")), _cell(run.tags.get("dataset", ""))
    what = f"{model} on {data}, {_count(run.tags.get('modules'), 'module')}"
    return f"Latest: {what}, {metric.replace('/', ' ')}: {', '.join(words)}"


def _picture(path: str, run_id: str) -> str:
    """An artifact in line; the dashboard shows it at its own size."""
    return f"![{_cell(path)}](get-artifact?path={quote_url(path)}&run_uuid={run_id})"


def _mean(runs: Sequence[Ran]) -> Mean | None:
    """Of a seed that was repeated the later run counts; `runs` come newest first."""
    by_seed: dict[str, float] = {}
    for run in runs:
        if math.isfinite(value := run.result()):
            by_seed.setdefault(run.tags.get("seed", ""), value)
    return Mean(math.fsum(by_seed.values()) / len(by_seed), len(by_seed)) if by_seed else None


def _count(number: str | None, what: str) -> str:
    return f"{_cell(number or '?')} {what}{'s' * (number != '1')}"


def _row(*cells: str) -> str:
    """Of a table. The dashboard sets cells without room between them, so all but the last bring their own."""
    return f"| {' &emsp; | '.join(cells)} |"


def _cell(text: str) -> str:
    """Text that cannot end a cell of a table, nor be taken for HTML, a link, a picture or code."""
    signs = {"<": "&lt;", ">": "&gt;", "\n": " ", "\r": " "}
    return re.sub(r"[<>|\n\r`\[\]]", lambda found: signs.get(found[0], f"\\{found[0]}"), str(text))
