"""Translations by the network of a run: `unlocked generate RUN --input SENTENCE`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unlocked.config import from_tree
from unlocked.decoding.search import beam_search, greedy, sample
from unlocked.decoding.translation import Search, source_ids, texts, translations
from unlocked.errors import ConfigError
from unlocked.plan.plan import load_data
from unlocked.runs.evaluate import load_chain
from unlocked.runs.folder import read_config
from unlocked_models.contract.registry import unknown

METHODS = ("greedy", "beam", "sample")


def translate(
    run_dir: Path,
    sentences: Sequence[str],
    method: str = "beam",
    *,
    beam: int = 4,
    length_penalty: float = 0.6,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    longest: int | None = None,
    weights: str = "best",
) -> list[str]:
    """What a trained run makes of each sentence.

    Args:
        method: greedy, beam (of that width, with `length_penalty`) or sample (with `temperature`, `top_k`, `top_p`
            and `seed`); see `unlocked.decoding.search`.
        longest: tokens of a translation, </s> among them, at most; null: as many as the training targets had, which
            is also all that a model can write.
        weights: best or last.

    Raises `ConfigError`, one line, for a run that is no translation, a sentence that is empty or too long, and options
    that are none.

    >>> translate("runs/bahdanau-backprop-s0-...", ["March 3 , 1 9 8 4"])  # doctest: +SKIP
    ['1 9 8 4 - 0 3 - 0 3']
    """
    searches: dict[str, Search] = {
        "greedy": greedy,
        "beam": lambda decoder, limit: beam_search(decoder, limit, beam, length_penalty),
        "sample": lambda decoder, limit: sample(decoder, limit, temperature, top_k, top_p, seed),
    }
    if method not in searches:
        raise ConfigError(f"method: {unknown('method', method, list(METHODS))}")
    config = from_tree(read_config(Path(run_dir)))
    data = load_data(config)
    if (config.task or data.task) != "translation":
        raise ConfigError(f"{run_dir}: a run of {config.task or data.task}, not of translation")
    most = data.example.y_shape[0]
    if longest is not None and not 1 <= longest <= most:
        raise ConfigError(f"longest: {longest} is not from 1 to {most}, the positions of this model's decoder")
    x = source_ids(sentences, data)
    chain, _ = load_chain(Path(run_dir), config, data, weights)
    return texts(translations(chain, x, data, searches[method], longest), data)
