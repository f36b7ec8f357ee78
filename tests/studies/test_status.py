"""How a study stands, seen from outside."""

from __future__ import annotations

import pytest

from unlocked import sweep
from unlocked.errors import ConfigError
from unlocked.studies import trial as trial_module
from unlocked.studies.status import status


def test_the_status_of_a_study_is_read_while_another_process_could_be_at_it(search, hill, monkeypatch):
    pretend, looks = trial_module.train, []

    def looked_at(config, **options):
        if len(hill) == 2:
            looks.append(status("small"))
        return pretend(config, **options)

    monkeypatch.setattr(trial_module, "train", looked_at)
    sweep(search("sweep.trials=4"))
    (during,) = looks
    assert (during.summary["complete"], [trial.number for trial in during.running], during.total) == (2, [2], 4)
    assert during.held
    after = status("runs/small")
    assert (after.summary["trials"], after.running, after.held) == (4, [], False)
    with pytest.raises(ConfigError, match=r"there is no study smal in /\S+/runs \(known: small\)"):
        status("smal")
