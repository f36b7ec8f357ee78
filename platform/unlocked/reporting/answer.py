"""The answer of a report in a sentence or two: which scheme is best, by how much, and of how many seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unlocked.comparing.rows import Row, closest_to
from unlocked.comparing.statistics import Summary, paired
from unlocked.comparing.table import said
from unlocked.metrics import heading, higher_is_better


@dataclass(frozen=True)
class Reference:
    """What every row is compared with: the baseline, or the control."""

    scheme: str
    word: str  # "baseline" | "control"

    def of(self, row: Row, rows: Sequence[Row]) -> Row | None:
        """The row of this scheme that is closest to another; None if there is none, or several are as close."""
        others = [each for each in rows if each.group.get("scheme") == self.scheme]
        if row in others or not others:
            return None
        closest = closest_to(row, others)
        return closest[0] if len(closest) == 1 else None

    def difference(self, row: Row, rows: Sequence[Row], metric: str) -> Summary | None:
        """Paired by seed."""
        other = self.of(row, rows)
        return paired(row.by_seed(metric), other.by_seed(metric)) if other is not None else None


def answer(
    rows: Sequence[Row], names: Sequence[str], metric: str, baseline: Reference, control: Reference, title: str
) -> str:
    """`names`: of the rows."""
    ranked = [(row, name) for row, name in zip(rows, names, strict=True) if row.values(metric)]
    if not ranked:
        return f"No run of {title} has {heading(metric)}."
    sign = 1.0 if higher_is_better(metric) else -1.0
    ranked.sort(key=lambda each: -sign * _mean(each[0], metric))
    trained = [each for each in ranked if not each[0].is_control]
    best, name = (trained or ranked)[0]
    sentences = [f"On {title}, {name} reaches {_value(best, metric)}{_against(best, rows, metric, baseline, control)}."]
    if best.group.get("scheme") == baseline.scheme:
        others = [each for each in trained if each[0].group.get("scheme") != baseline.scheme]
        if others:
            second, its_name = others[0]
            said_of_it = _against(second, rows, metric, baseline, control)
            sentences.append(f"The best of the others, {its_name}, reaches {_value(second, metric)}{said_of_it}.")
    controls = [each for each in ranked if each[0].is_control]
    if controls and trained and control.of(best, rows) is None:  # several are as close: a search of rates, say
        its_name = controls[0][1]
        sentences.append(f"The best of the controls, {its_name}, reaches {_value(controls[0][0], metric)}.")
    if controls and trained and sign * _mean(controls[0][0], metric) >= sign * _mean(best, metric):
        sentences.append("The control, of which only the last module learns, is as good: the others learned nothing.")
    if not controls:
        sentences.append(f"There is no control among these runs (scheme.name={control.scheme}).")
    return " ".join(sentences)


def _mean(row: Row, metric: str) -> float:
    found = row.summary(metric)
    assert found is not None
    return found.mean


def _value(row: Row, metric: str) -> str:
    summary = row.summary(metric)
    assert summary is not None
    mean, interval = said(summary, metric)
    told = f"n = {summary.n}" + (f", 95 % interval {interval}" if interval else ", one seed: no interval")
    return f"{mean} {heading(metric)} ({told})"


def _against(row: Row, rows: Sequence[Row], metric: str, *references: Reference) -> str:
    words = []
    for reference in references:
        found = reference.difference(row, rows, metric)
        if found is None:
            continue
        mean, interval = said(found, metric, difference=True)
        side = "above" if found.mean > 0 else "below"
        words.append(
            f"{mean.lstrip('+-')} {side} the {reference.word} {reference.scheme} ({_verdict(found, interval)})"
        )
    return (", " if words else "") + " and ".join(words)


def _verdict(difference: Summary, interval: str) -> str:
    if difference.interval is None:
        return "one seed: it may be chance"
    low, high = difference.interval
    shown = "" if low > 0 or high < 0 else "; no difference is shown"
    return f"paired by seed, n = {difference.n}, 95 % {interval}{shown}"
