"""What tasks share whose trained net is wanted for its word vectors: figures, probes, neighbours and analogies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from unlocked.data import DataSet
from unlocked.data.words.vectors import write_vectors
from unlocked.decoding.words import Words, answer
from unlocked.drawing.words import map_of_words
from unlocked.errors import ConfigError
from unlocked.tasks.base import Task, Trained
from unlocked.tasks.word_probe import probes
from unlocked_models.contract.chain import Chain
from unlocked_models.embedding import word_vectors


class WordVectors(Task):
    """A task of which the vectors of words remain: those of the first block."""

    asks_network = True

    def unfit(self, blocks: Sequence[nn.Module]) -> str | None:
        if word_vectors(list(blocks)) is None:
            return "has no vectors of words in its first block (known: skipgram, cbow, glove)"
        return super().unfit(blocks)

    def final_metrics(self, chain: Chain, data: DataSet, split: str) -> dict[str, float]:
        """Of a tagged text: see `unlocked.tasks.word_probe`."""
        return probes(data, vectors_of(chain))

    def figures(self, data: DataSet, outputs: Tensor, chain: Chain | None, folder: Path) -> list[Path]:
        return [] if chain is None else [map_of_words(data, vectors_of(chain), folder / "words.png")]

    def written(self, trained: Trained, texts: list[str]) -> list[str] | None:
        """Neighbours of a word, or what answers an analogy of three."""
        made: list[str] = []
        for row, text in enumerate(texts, 1):
            try:
                made += map(str, self.generate(trained, [text]))
            except ConfigError as error:
                raise ConfigError(f"row {row}: {str(error).removeprefix('--input: ')}") from None
        return made

    def generate(
        self,
        trained: Trained,
        words: list[str] | None = None,
        *,
        top: int = 10,
        measure: str = "cosine",
        vectors: str | None = None,
    ) -> list[str | Path]:
        """The nearest neighbours of each word, and of three words ("man king woman") what answers the analogy.

        Args:
            top: how many words.
            measure: cosine or euclidean.
            vectors: a file to write all vectors to, in word2vec's text format.
        """
        symbols = trained.data.symbols
        if not words and vectors is None:
            raise ConfigError("--input: name a word, or three for an analogy; vectors=FILE writes all vectors")
        assert symbols is not None
        table = vectors_of(trained.chain)
        asked = Words(symbols, table, measure)
        made: list[str | Path] = [answer(asked, each, top) for each in words or ()]
        return made if vectors is None else [*made, write_vectors(Path(vectors), symbols, table)]


def vectors_of(chain: Chain) -> Tensor:
    found = word_vectors(list(chain))
    assert found is not None
    return found
