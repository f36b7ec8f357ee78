"""Pictures by the network of an autoencoder's run: `unlocked generate RUN what=[samples]`."""

from __future__ import annotations

from pathlib import Path

from unlocked.config import from_tree
from unlocked.drawing.autoencoders import PICTURES, Subject
from unlocked.errors import ConfigError
from unlocked.plan.plan import load_data
from unlocked.runs.evaluate import load_chain
from unlocked.runs.folder import read_config
from unlocked.tasks import TASKS, Reconstruction
from unlocked_models.contract.registry import unknown


def draw(
    run_dir: Path,
    *,
    what: list[str] = [],  # noqa: B006
    n: int = 10,
    seed: int = 0,
    weights: str = "best",
    out: str | None = None,
) -> list[Path]:
    """Pictures of a trained autoencoder, of examples of its test split.

    Args:
        what: which of `PICTURES`; empty: all that this model and its data have.
        n: examples, or rows of samples.
        seed: of what is drawn: examples, samples, t-SNE.
        weights: best or last.
        out: folder; null: `generated` in the run folder.
    """
    config = from_tree(read_config(run_dir))
    data = load_data(config)
    if weights not in ("best", "last"):
        raise ConfigError(f"weights: {unknown('choice', weights, ['best', 'last'])}")
    if not 1 <= n <= len(data.test):
        raise ConfigError(f"n: {n} is not from 1 to {len(data.test)}, the test examples of {data.name}")
    for name in what:
        if name not in PICTURES:
            raise ConfigError(f"what: {unknown('picture', name, list(PICTURES))}")
    chain, _ = load_chain(run_dir, config, data, weights)
    task = TASKS.get(config.task or data.task)()
    assert isinstance(task, Reconstruction)
    subject = Subject(chain, data, task.picture, n, seed)
    folder = Path(out) if out is not None else run_dir / "generated"
    made = []
    for name in what or PICTURES:
        why_not, drawing = PICTURES[name]
        reason = why_not(subject)
        if reason is None:
            made.append(drawing(subject, folder / f"{name}.png"))
        elif what:
            raise ConfigError(f"what: {name} cannot be drawn of this run: {reason}")
    return made
