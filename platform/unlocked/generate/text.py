"""Text from a trained language model, one token after the other.

A model that keeps what it has read is not run over it again (`unlocked_models.contract.stepping`): attention keeps
keys and values, recurrent layers their state. Others, and sequences that have grown beyond the positions of a
Transformer, are run over the last of these for every token. The result is that of running the whole network every time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from unlocked.config import from_tree
from unlocked.data.text import SPECIAL
from unlocked.decoding.sampling import filtered
from unlocked.errors import ConfigError
from unlocked.plan.plan import load_data
from unlocked.runs.evaluate import load_chain
from unlocked.runs.folder import read_config
from unlocked_models import Batch, Chain
from unlocked_models.contract.stepping import remembering, takes_pieces
from unlocked_models.layers.attention import MultiHeadAttention

Logits = Callable[[Tensor], Tensor]  # all ids so far, (1, tokens), to those of the next one, (1, vocabulary)


def generate_text(
    run_dir: Path,
    prompt: str = "",
    *,
    length: int = 200,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    greedy: bool = False,
    seed: int = 0,
    weights: str = "best",
) -> str:
    """The prompt, and what a trained run goes on with; the same for the same seed.

    Args:
        prompt: of one longer than the positions of a Transformer the last ones are read; none: a line break.
        length: tokens to generate.
        temperature, top_k, top_p: `sampling.filtered`.
        greedy: the likeliest token always; the three before are then without effect.
        weights: best or last.

    Raises `ConfigError`, one line, for a run that is no language model of a text, a prompt with what its vocabulary
    lacks, and values out of range.

    >>> generate_text("runs/gpt-backprop-s0-...", "The statement", top_k=10)  # doctest: +SKIP
    'The statement is a string ...'
    """
    from unlocked.data.tokenize import decode, encode, from_json, unknown_in

    if length < 1:
        raise ConfigError(f"length: {length} is not at least 1")
    filtered(torch.zeros(1, 2), temperature, top_k, top_p)  # refuses what is no such number
    config = from_tree(read_config(Path(run_dir)))
    data = load_data(config)
    task = config.task or data.task
    if task != "language_modelling" or data.tokenizer is None:
        raise ConfigError(f"{run_dir}: a run of {task} on {data.name}, not of language modelling on a text")
    tokenizer = from_json(data.tokenizer)
    strange = unknown_in(tokenizer, prompt)
    if strange:
        raise ConfigError(
            f"prompt: {', '.join(map(repr, strange[:5]))} {'is' if len(strange) == 1 else 'are'} not in "
            f"the vocabulary of {data.name}"
        )
    begun = encode(tokenizer, prompt or "\n").tolist()
    if not begun:  # words are what is between spaces and line breaks
        raise ConfigError(f"prompt: {prompt!r} has no word; {data.name} is read in words, and begins with one")
    chain, _ = load_chain(Path(run_dir), config, data, weights)
    generator = torch.Generator().manual_seed(seed)

    def choose(scores: Tensor) -> int:
        if greedy:
            return int(scores.argmax())
        return int(torch.multinomial(filtered(scores, temperature, top_k, top_p).softmax(-1), 1, generator=generator))

    with torch.inference_mode(), next_token(chain, data.in_shape[0]) as logits:
        ids = continued(logits, begun, length, choose)
    added = decode(tokenizer, [*begun, *ids]).removeprefix(decode(tokenizer, begun))  # a space between words, say
    return prompt + added


def continued(logits: Logits, begun: list[int], length: int, choose: Callable[[Tensor], int]) -> list[int]:
    """`length` ids that go on behind those `begun`, none of them a special one."""
    ids = list(begun)
    for _ in range(length):
        scores = logits(torch.tensor([ids]))
        scores[:, : len(SPECIAL)] = -torch.inf
        ids.append(choose(scores))
    return ids[len(begun) :]


@contextlib.contextmanager
def next_token(chain: Chain, positions: int) -> Iterator[Logits]:
    """Logits of the next token, for calls between which one sequence grows; `positions`: as many as the chain has."""
    attends = any(isinstance(layer, MultiHeadAttention) for layer in chain.modules())
    keeps = all(map(takes_pieces, chain))
    read = 0  # tokens of which something is kept

    def run(ids: Tensor) -> Tensor:
        return chain(ids, Batch(ids, ids))[:, -1].clone()

    with contextlib.ExitStack() as stack:

        def logits(ids: Tensor) -> Tensor:
            nonlocal read
            if ids.shape[1] > positions and (attends or not keeps):
                stack.close()  # every token moves all positions: nothing that was kept holds any more
                return run(ids[:, -positions:])
            if not keeps:
                return run(ids)
            new, read = ids[:, read:], ids.shape[1]
            return run(new)

        if keeps:
            stack.enter_context(remembering(chain))
        yield logits
