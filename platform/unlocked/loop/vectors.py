"""Word vectors that a run begins with (`transfer.vectors`), for the words of its own vocabulary: those of another run,
or of a file in word2vec's text format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from unlocked.config import Config, from_tree
from unlocked.data import DataSet
from unlocked.data.words.text import SPECIAL
from unlocked.data.words.vectors import read_vectors
from unlocked.errors import ConfigError
from unlocked.plan.blocks import build_blocks
from unlocked.plan.plan import Plan, load_data
from unlocked.runs.evaluate import load_chain
from unlocked.runs.folder import read_config
from unlocked_models.contract.chain import Chain
from unlocked_models.contract.registry import MODELS
from unlocked_models.embedding import word_vectors
from unlocked_models.layers.sequences import first_embedding


def with_vectors(plan: Plan, data: DataSet) -> Config:
    """The configuration, with the whole path of what is read. Raises `ConfigError`, one line, if the net has no
    embedding of words, or none of that width, and if no word has a vector."""
    _filled(plan, data)
    transfer = plan.config.transfer
    return replace(plan.config, transfer=replace(transfer, vectors=str(Path(transfer.vectors or "").absolute())))


def weights_with_vectors(plan: Plan, data: DataSet) -> tuple[dict[str, Tensor], str]:
    """The weights of the whole chain, and a line about them."""
    weights, found = _filled(plan, data)
    words, transfer = len(data.symbols or ()) - len(SPECIAL), plan.config.transfer
    return weights, (
        f"begins with vectors of {found:,} of {words:,} words from {transfer.vectors}"
        + (", frozen" if transfer.freeze else "")
    )


def _filled(plan: Plan, data: DataSet) -> tuple[dict[str, Tensor], int]:
    """The weights of the whole chain, and how many words were found."""
    config, source = plan.config, plan.config.transfer.vectors
    model, blocks = config.model["name"], build_blocks(config, plan.example)
    embedding = first_embedding(blocks)
    if embedding is None or data.symbols is None or embedding.num_embeddings != len(data.symbols):
        raise ConfigError(f"transfer.vectors: the first block of {model}, on {data.name}, embeds no words")
    if config.transfer.freeze and _shared(blocks, embedding):
        raise ConfigError(
            f"transfer.freeze: true, but the output of {model} shares the embedding's weight; set model.tied=false"
        )
    words, vectors = _source(Path(source or ""))
    if vectors.shape[1] != embedding.embedding_dim:
        raise ConfigError(
            f"transfer.vectors: {source} has vectors of {vectors.shape[1]} numbers, {model} embeds words in "
            f"{embedding.embedding_dim}; set the width of its embedding to {vectors.shape[1]}"
        )
    theirs = {word: i for i, word in enumerate(words)}
    found = 0
    with torch.no_grad():
        for i, word in enumerate(data.symbols):
            at = theirs.get(word, theirs.get(word.lower()))
            if i >= len(SPECIAL) and at is not None:
                embedding.weight[i] = vectors[at]
                found += 1
    if not found:
        raise ConfigError(f"transfer.vectors: {source} has a vector of no word of {data.name}")
    return Chain(blocks).state_dict(), found


def _source(path: Path) -> tuple[list[str], Tensor]:
    """Words and their vectors `(words, width)`."""
    if not path.is_dir():
        words, vectors = read_vectors("transfer.vectors", path)
        return words, torch.from_numpy(vectors)
    config = from_tree(read_config(path))
    model = config.model["name"]
    data, table = load_data(config), None
    if not MODELS.facts(model)["nets"]:
        chain, _ = load_chain(path, config, data)
        table = word_vectors(list(chain))
    if table is None or data.symbols is None:
        raise ConfigError(f"transfer.vectors: {path} is a run of {model}, which has no word vectors")
    return list(data.symbols)[len(SPECIAL) :], table[len(SPECIAL) :]


def _shared(blocks: list[nn.Module], embedding: nn.Embedding) -> bool:
    held = [layer for block in blocks for layer in block.modules() if layer is not embedding]
    return any(p is embedding.weight for layer in held for p in layer.parameters(recurse=False))
