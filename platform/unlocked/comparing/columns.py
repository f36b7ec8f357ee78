"""Which keys tell groups of runs apart, how their values and places are written, and short names for headings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from unlocked.comparing.finished import FinishedRun
from unlocked.tracking.captions import ABSENT
from unlocked.tracking.identity import PLACE

_FIRST = ("modules", "replicas", "lag", "partition", "parallel.schedule", "scheme.synthetic_inputs")
_LAST = ("data_digest", "code_digest", "version.unlocked")
# A key that belongs to others differs by itself where those do: it is a column only where it differs among equal ones
_OWNERS: Mapping[str, tuple[str, ...]] = {
    "lag": ("scheme", "modules"),
    "partition": ("model", "modules", "parallel.modules_per_worker"),
    "parallel.schedule": ("scheme",),
    "parallel.modules_per_worker": ("scheme",),
    "parallel.microbatches": ("scheme",),
}


_UNSAID = {"": "unknown", "null": "default"}


def differing(runs: Sequence[FinishedRun], lead: Sequence[str]) -> list[str]:
    """The keys in which these runs differ, beside the `lead`ing ones; options of a scheme or a model among runs of
    that scheme or model, and those that no scheme of the runs reads only if nothing else tells two runs apart."""
    known = {key for run in runs for key in run.identity}
    found = [key for key in known if key not in lead and _differs(runs, key)]
    unread = _unread(runs, [key for key in found if key.startswith("scheme.")])
    kept = [*lead, *(key for key in found if key not in unread)]
    found = [key for key in found if key not in unread or _tells_apart(runs, key, kept)]
    return sorted(
        found,
        key=lambda key: (
            _LAST.index(key) if key in _LAST else -1,
            _FIRST.index(key) if key in _FIRST else len(_FIRST),
            key,
        ),
    )


def _differs(runs: Sequence[FinishedRun], key: str) -> bool:
    owners = _OWNERS.get(key) or (
        (group,) if (group := key.partition(".")[0]) in ("scheme", "model") and "." in key else ()
    )
    seen: dict[tuple[str, ...], str] = {}
    for run in runs:
        value = run.identity.get(key, ABSENT)
        if seen.setdefault(tuple(run.word(owner) for owner in owners), value) != value:
            return True
    return False


def _unread(runs: Sequence[FinishedRun], keys: Sequence[str]) -> list[str]:
    """Of these keys of options those in which no two runs differ whose scheme has the option, or is not known here."""
    if not keys:
        return []
    from dataclasses import fields

    from unlocked.schemes import SCHEMES  # with which torch comes: only tables with such keys wait for it

    reads = {name: {field.name for field in fields(SCHEMES.get(name).Options)} for name in SCHEMES}
    unread = []
    for key in keys:
        option = key.split(".")[1]
        of_every_scheme = not any(option in read for read in reads.values())
        readers = [run for run in runs if of_every_scheme or option in reads.get(run.word("scheme"), {option})]
        if not _differs(readers, key):
            unread.append(key)
    return unread


def _tells_apart(runs: Sequence[FinishedRun], key: str, others: Sequence[str]) -> bool:
    """Whether two runs that are equal in the other keys are not in this one."""
    seen: dict[tuple[str, ...], str] = {}
    for run in runs:
        value = run.identity.get(key, ABSENT)
        if seen.setdefault(tuple(shown_value(run, other) for other in others), value) != value:
            return True
    return False


def shown_value(run: FinishedRun, key: str) -> str:
    """The value of a key, digests cut to eight digits."""
    value = run.identity.get(key) or run.word(key) or ABSENT
    return value[:8] if key in _LAST[:2] else value


def place_names(runs: Sequence[FinishedRun]) -> dict[tuple[str, ...], str]:
    """A name for each place in which runs were timed, of what tells it apart: engine, machine, cores, threads, ...

    >>> place_names([])
    {}
    """
    places = list(dict.fromkeys(run.place for run in runs))
    varying = [i for i in range(len(PLACE)) if len({place[i] for place in places}) > 1]
    return {place: " ".join(_word(PLACE[i], place[i]) for i in varying) for place in places}


def _word(key: str, value: str) -> str:
    if value in _UNSAID:
        value = _UNSAID[value]
    elif key == "parallel.engine":
        from unlocked.engines import label_of  # with which torch comes: two seconds that most tables can do without

        value = label_of(value)
    if key in ("cpus", "parallel.threads"):
        return f"{value} {'cores' if key == 'cpus' else 'threads'}"
    if key in ("parallel.engine", "device", "gpu"):
        return value
    return f"{'on' if key == 'host' else key.rpartition('.')[2]} {value}"
