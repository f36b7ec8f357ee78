"""The facts about every key, and what follows from them: checks, --help, the reference page."""

from dataclasses import dataclass

import pytest

from unlocked.config import schema
from unlocked.errors import ConfigError
from unlocked.schema.describe import describe_schema, reference
from unlocked.schema.facts import all_fields, check_facts, fact_of, key, value_of


@dataclass
class _Options:
    steps: int = key(1, "Gibbs steps per update", low=1)
    share: float = key(0.5, "of the units", low=0, below=1)
    width: int = key(3, "of the window", low=1, high=9, odd=True)
    cpu: float = key(1.0, "of a trial", low=0.01, or_zero=True)
    lag: int | str = key("auto", "minibatches", choices=("auto",), low=0)
    kind: str | None = key("fast", "how", choices=("fast", "exact"))
    betas: list[float] | None = key(None, "two of them", low=0, below=1, entries=2)


def test_every_key_has_a_meaning():
    assert [name for name, field in all_fields(schema()) if fact_of(field) is None or not fact_of(field).meaning] == []


def test_every_key_stands_in_the_help_and_on_the_reference_page_with_its_meaning():
    lines, page = describe_schema(schema()).splitlines(), reference(schema())
    keys = dict(all_fields(schema()))
    assert len([line for line in lines if not line.partition("#")[0].rstrip().endswith(":")]) == len(keys)
    for name, field in keys.items():
        meaning = fact_of(field).meaning
        assert any(line.strip().startswith(f"{field.name}:") and meaning in line for line in lines)
        assert f"| `{name}` | " in page
        assert meaning.replace("|", "\\|") in page


def test_the_help_shows_type_choices_meaning_and_range():
    lines = [" ".join(line.split()) for line in describe_schema(schema()).splitlines()]
    assert "lr: 0.001 # float; learning rate; every scheme has its own best one; greater than 0" in lines
    assert "seed: 0 # int; seeds every random draw except the data's split; at least 0" in lines
    assert "precision: fp32 # str; fp32 | bf16 | fp16 | fp64; bf16, fp16: by autocast; fp16 scales gradients" in lines


def test_the_defaults_are_in_their_own_ranges():
    check_facts(schema()(), schema())
    check_facts(_Options(), _Options)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"steps": 0}, "mine.steps: must be at least 1, got 0"),
        ({"share": 1.0}, "mine.share: must be below 1, got 1.0"),
        ({"share": float("nan")}, "mine.share: must be at least 0, got nan"),
        ({"width": 4}, "mine.width: must be odd, got 4"),
        ({"width": 11}, "mine.width: must be at most 9, got 11"),
        ({"cpu": 1e-9}, "mine.cpu: must be 0 or at least 0.01, got 1e-09"),
        ({"lag": -1}, "mine.lag: must be at least 0, got -1"),
        ({"lag": "late"}, "mine.lag: must be auto, or at least 0, got 'late'"),
        ({"kind": "fats"}, "mine.kind: unknown kind 'fats'; did you mean 'fast'? (known: exact, fast)"),
        ({"betas": [0.9]}, "mine.betas: must be 2 numbers, got [0.9]"),
        ({"betas": [0.9, -1]}, "mine.betas: every entry must be at least 0, got [0.9, -1]"),
    ],
)
def test_what_a_key_cannot_be_is_said_in_one_line(given, said):
    with pytest.raises(ConfigError) as caught:
        check_facts(_Options(**given), _Options, "mine.")
    assert str(caught.value) == said


def test_what_a_key_can_be_passes():
    check_facts(_Options(cpu=0.0, lag=3, kind=None, betas=[0.5, 0.9]), _Options)


def test_a_default_that_is_a_list_is_one_of_each_configuration():
    first, second = schema()(), schema()()
    first.data.transforms.append("flip")
    assert second.data.transforms == value_of(schema()(), "data.transforms") == []
