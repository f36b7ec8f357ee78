"""What a report says of each data set and task, chapter by chapter."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from shlex import quote
from statistics import fmean, median
from typing import Any

from unlocked.colors import scheme_color
from unlocked.comparing.columns import differing, shown_value
from unlocked.comparing.table import said
from unlocked.drawing import reports as figures
from unlocked.drawing.comparisons import names_of
from unlocked.metrics import AT, heading, higher_is_better, is_share
from unlocked.reporting.answer import Reference, answer
from unlocked.reporting.document import Block, Commands, Document, Figure, Heading, Notes, Paragraph, Table
from unlocked.reporting.gather import Gathered, Group
from unlocked.tracking.captions import brief

FEW, MOST = 5, 8  # configurations that are named in full; that have lines and bars of their own
_LONG = 34  # letters of a name, beyond which the table alone has it
_WHAT = (  # of data, code and machine: a heading, and the tags or keys that say it
    ("data set", "dataset"),
    ("digest of its examples", "data_digest"),
    ("task", "task"),
    ("model", "model"),
    ("parameters", "parameters"),
    ("commit of the platform", "git.commit"),
    ("with changes", "git.dirty"),
    ("digest of the user's code", "code_digest"),
    ("unlocked", "version.unlocked"),
    ("torch", "version.torch"),
    ("Python", "version.python"),
    ("host", "host"),
    ("system", "platform"),
    ("cores", "cpus"),
    ("device", "device"),
    ("accelerator", "accelerator"),
    ("engine", "engine"),
)


def write(
    found: Sequence[Gathered],
    references: tuple[Reference, Reference],
    quality: float | None,
    asked: Sequence[str],
    command: str,
) -> tuple[Document, list[str]]:
    """The document, and its answers."""
    of = ", ".join(asked) or " and ".join(gathered.section.title for gathered in found)
    runs = sum(len(group.members) for gathered in found for group in gathered.groups)
    made = time.strftime("%Y-%m-%d %H:%M")
    document = Document(of, f"{runs} finished run{'s' * (runs != 1)}, {made}")
    answers = []
    for gathered in found:
        rows, names = [group.row for group in gathered.groups], names_of([group.row for group in gathered.groups])
        answers.append(answer(rows, names, gathered.monitor, *references, gathered.section.title))
        if len(found) > 1:
            document.blocks.append(Heading(gathered.section.title, 1))
        document.blocks.append(Paragraph(answers[-1], lead=True))
        document.blocks += _chapters(gathered, names, references, quality)
    document.blocks += [Paragraph("This page is written anew by:"), Commands([command])]
    return document, answers


def _chapters(
    gathered: Gathered, names: Sequence[str], references: tuple[Reference, Reference], quality: float | None
) -> list[Block]:
    long = len(names) > FEW or max(map(len, names)) > _LONG
    if long:
        names = [f"#{i} {name}" for i, name in enumerate(names, 1)]
    blocks: list[Block] = [Heading("Results"), _results(gathered, names, references)]
    notes = list(gathered.section.notes)
    if len(names) > MOST:
        notes.append(f"the chapters below are of the best {MOST} configurations and the control")
    blocks += [Notes(notes)] if notes else []
    kept = [i for i, group in enumerate(gathered.groups) if i < MOST or group.row.is_control]
    gathered = replace(gathered, groups=[gathered.groups[i] for i in kept])
    names = [f"#{i + 1} {gathered.groups[at].scheme}" if long else names[i] for at, i in enumerate(kept)]
    blocks += _curves(gathered, names, quality)
    blocks += _speed(gathered, names)
    blocks += _alignment(gathered, names)
    blocks += _waiting(gathered, names)
    blocks += [Heading("What differs"), _differences(gathered, names)]
    blocks += [Heading("How to repeat it"), *_repeat(gathered)]
    blocks += [Heading("Data, code, machine"), _origin(gathered)]
    return blocks


# results ----------------------------------------------------------------------------------------------------


def _results(gathered: Gathered, names: Sequence[str], references: Sequence[Reference]) -> Table:
    rows, metric = [group.row for group in gathered.groups], gathered.monitor
    shown = [m for m in gathered.section.metrics if any(row.values(m) for row in rows)]
    present = [r for r in references if any(row.group.get("scheme") == r.scheme for row in rows)]
    header = ["configuration", "hash", "n", f"{heading(metric)}\n95 % interval"]
    header += [f"minus {r.scheme}\n95 % interval" for r in present]
    header += [" ".join(heading(m).split()) for m in shown if m != metric]
    cells = []
    for row, name in zip(rows, names, strict=True):
        line = [name, row.hash[:8], str(len(row.values(metric))), _said(row.summary(metric), metric)]
        line += [_said(r.difference(row, rows, metric), metric, difference=True) for r in present]
        line += [_said(row.summary(m), m).partition("\n")[0] for m in shown if m != metric]
        cells.append(line)
    caption = (
        "mean over seeds, best first; 95 % interval of the mean by Student's t; differences paired by seed"
        + ", to the configuration of that scheme that agrees in most keys" * bool(present)
    )
    return Table(header, cells, caption, [scheme_color(group.scheme) for group in gathered.groups])


def _said(summary: Any, metric: str, difference: bool = False) -> str:
    if summary is None:
        return "–"
    mean, interval = said(summary, metric, difference)
    return f"{mean}\n{interval or 'one seed'}"


# curves -----------------------------------------------------------------------------------------------------


def _watched(gathered: Gathered) -> str | None:
    """The validation metric that the task follows; without a validation split the training loss."""
    wanted = [f"val/{gathered.monitor.rpartition('/')[2]}", "val/loss", "train/loss"]
    return next((m for m in wanted if any(group.curves(m) for group in gathered.groups)), None)


def _named(metric: str) -> str:
    split = metric.partition("/")[0]
    words = {"val": "validation", "train": "training"}
    return heading(metric).replace(f"{split} ", f"{words[split]} ", 1) if split in words else heading(metric)


def _lines(gathered: Gathered, names: Sequence[str], metric: str, seconds: bool = False) -> list[figures.Line]:
    return [
        figures.Line(name, group.scheme, curves)
        for group, name in zip(gathered.groups, names, strict=True)
        if (curves := group.curves_of_one_clock(metric) if seconds else group.curves(metric))
    ]


def _curves(gathered: Gathered, names: Sequence[str], quality: float | None) -> list[Block]:
    metric = _watched(gathered)
    if metric is None:
        return []
    panels = {
        "step (minibatches)": _lines(gathered, names, metric),
        "seconds since the run began": _lines(gathered, names, metric, seconds=True),
    }
    words = (
        f"{_named(metric)} over steps and over wall-clock time (of a step, the mean over seeds), in which evaluation "
        "and checkpoints count"
    )
    drawn = Figure("learning", lambda path: figures.bands(panels, metric, path), words)
    blocks: list[Block] = [Heading("Learning"), drawn]
    told = time_to_quality(gathered, names, metric, quality)
    return [*blocks, told] if told is not None else blocks


def time_to_quality(
    gathered: Gathered, names: Sequence[str], metric: str, quality: float | None = None
) -> Table | None:
    """Steps and seconds until a seed is first as good as `quality`; by default what every seed reaches of every
    configuration above the control: one that has learned nothing would set the level of chance."""
    higher = higher_is_better(metric)
    best = max if higher else min
    tops = {
        name: [
            best(values)
            for curve in group.curves(metric)
            if (values := [value for _, value in curve if math.isfinite(value)])
        ]
        for group, name in zip(gathered.groups, names, strict=True)
    }
    controls = {name for group, name in zip(gathered.groups, names, strict=True) if group.row.is_control}
    trained = [found for name, found in tops.items() if found and name not in controls]
    if not trained:
        return None
    level = best((fmean(found) for name, found in tops.items() if found and name in controls), default=None)
    sign = 1.0 if higher else -1.0
    above = [each for each in trained if level is None or sign * fmean(each) > sign * level]
    worst = min if higher else max
    wanted = quality if quality is not None else worst(worst(each) for each in above or trained)
    cells = []
    for group, name in zip(gathered.groups, names, strict=True):
        steps, seconds = (
            [at for curve in group.curves(metric, clock) if (at := _first(curve, wanted, higher)) is not None]
            for clock in (False, True)
        )
        of = len(group.curves(metric))
        told = (
            [f"{len(steps)} of {of}", f"{median(steps):,.0f}", f"{median(seconds):.1f} s"] if steps else [f"0 of {of}"]
        )
        cells.append([name, *told, *["–"] * (4 - 1 - len(told))])
    shown = f"{100 * wanted:.1f} %" if is_share(metric) else f"{wanted:.4g}"
    chosen = "as asked" if quality is not None else "which every seed of every configuration above the control reaches"
    return Table(
        [f"time to {_named(metric)} {shown}", "seeds", "steps", "seconds"],
        cells,
        f"median over the seeds that reach it; the quality is {shown}, {chosen}",
        [scheme_color(group.scheme) for group in gathered.groups],
    )


def _first(curve: Sequence[tuple[float, float]], wanted: float, higher: bool) -> float | None:
    return next((at for at, value in curve if (value >= wanted if higher else value <= wanted)), None)


# speed ------------------------------------------------------------------------------------------------------


def _speed(gathered: Gathered, names: Sequence[str]) -> list[Block]:
    """A figure for each place: speeds of two machines do not compare."""
    blocks: list[Block] = []
    rows = [group.row for group in gathered.groups]
    for timing in (m for m in gathered.section.metrics if m.startswith("time/steps_per_second")):
        dots = [
            figures.Dot(name, group.scheme, row.values(timing), row.values(gathered.monitor))
            for group, row, name in zip(gathered.groups, rows, names, strict=True)
            if row.values(timing) and row.values(gathered.monitor)
        ]
        place = timing.partition(AT)[2]
        where = f" ({place})" if place else ""

        def draw(path: Any, dots: Any = dots) -> Any:
            return figures.pareto(dots, gathered.monitor, "time/steps_per_second", path)

        if dots:
            front = [dots[i].name for i in figures.front(dots, higher_is_better(gathered.monitor))]
            words = f"no other is both faster and better than: {', '.join(front)}"
            blocks.append(Figure(f"pareto{len(blocks) or ''}", draw, f"quality against speed{where}; {words}"))
    return [Heading("Speed and quality"), *blocks] if blocks else []


# alignment --------------------------------------------------------------------------------------------------


def _alignment(gathered: Gathered, names: Sequence[str]) -> list[Block]:
    modules = sorted({k for group in gathered.groups for k in group.modules("align/")})
    panels = {k: _lines(gathered, names, f"align/module_{k}") for k in modules}
    if not panels:
        return []
    cells = []
    colors = []
    for group, name in zip(gathered.groups, names, strict=True):
        last = {k: [curve[-1][1] for curve in group.curves(f"align/module_{k}")] for k in group.modules("align/")}
        if last:
            cells.append([name, *(f"{fmean(last[k]):.2f}" if last.get(k) else "–" for k in modules)])
            colors.append(scheme_color(group.scheme))
    words = "cosine of the injected gradient with the true one: 1 is backprop's own direction, 0 is chance"
    table = Table(["at the last probe", *(f"module {k}" for k in modules)], cells, "mean over seeds", colors)
    return [Heading("Alignment"), Figure("alignment", lambda path: figures.alignment(panels, path), words), table]


# waiting ----------------------------------------------------------------------------------------------------


def _waiting(gathered: Gathered, names: Sequence[str]) -> list[Block]:
    bars = []
    for group, name in zip(gathered.groups, names, strict=True):
        for k in group.modules("time/compute_ms/"):
            spent = {
                word: value
                for word, key in (("computing", "compute"), ("communicating", "communicate"), ("waiting", "wait"))
                if (value := _median_of(group, f"time/{key}_ms/module_{k}")) is not None
            }
            bars.append(figures.Spent(f"{name}, module {k}", spent))
    if not bars:
        return [
            Heading("Waiting"),
            Paragraph(
                "These runs trained in one process, where no module waits for another. With parallel.engine=ray every "
                "module has a worker, and what it waits is measured."
            ),
        ]
    words = "milliseconds of a step of each module: computing, communicating, waiting; median over segments and seeds"
    return [Heading("Waiting"), Figure("waiting", lambda path: figures.waiting(bars, path), words)]


def _median_of(group: Group, metric: str) -> float | None:
    values = [value for curve in group.curves(metric) for _, value in curve]
    return median(values) if values else None


# how, what and where ----------------------------------------------------------------------------------------


def _differences(gathered: Gathered, names: Sequence[str]) -> Block:
    """Every key in which the configurations differ, and its value in each."""
    keys = differing(gathered.runs, ())
    if not keys:
        return Paragraph("Nothing but the seed.")
    first = [next(iter(group.members.values())).run if group.members else None for group in gathered.groups]
    cells = [
        [name, *(brief(shown_value(run, key)) if run is not None else "–" for key in keys)]
        for name, run in zip(names, first, strict=True)
    ]
    colors = [scheme_color(group.scheme) for group in gathered.groups]
    return Table(["configuration", *keys], cells, "what is not listed is equal in all of them", colors)


def _repeat(gathered: Gathered) -> list[Block]:
    lines = []
    for group in gathered.groups:
        for seed, member in group.members.items():
            config = f"{member.folder}/config.yaml" if member.folder is not None else f"{member.run.name}/config.yaml"
            # a store may be somebody else's: a name in it is one word of one line, whatever it holds
            lines += [f"# {' '.join(group.row.label.split())}, seed {seed}", f"unlocked train {quote(config)}"]
            break
    words = (
        "Each command trains the first seed of its configuration again, to the same numbers on the same machine; add "
        "seed=N for another. A configuration that does not lie here is an artifact of its run in MLflow."
    )
    return [Paragraph(words), Commands(lines)]


def _origin(gathered: Gathered) -> Table:
    cells = []
    for word, key in _WHAT:
        found = Counter(value for run in gathered.runs if (value := run.word(key)))
        if found:
            shown = [value if len(found) == 1 else f"{value} ({n} runs)" for value, n in found.most_common(4)]
            cells.append([word, ", ".join(shown) + (", ..." if len(found) > 4 else "")])
    examples = [run for run in gathered.runs if run.started]
    if examples:
        days = sorted({time.strftime("%Y-%m-%d", time.localtime(run.started / 1000)) for run in examples})
        cells.append(["trained", days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"])
    return Table(["", ""], cells, left=2)
