"""Text from a trained language model, one token after the other.

A model that keeps what it has read is not run over it again (`unlocked_models.contract.stepping`): attention keeps
keys and values, recurrent layers their state. Others, and sequences that have grown beyond the positions of a
Transformer, are run over the last of these for every token. The result is that of running the whole network every time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from unlocked.data import DataSet
from unlocked.data.words.text import SPECIAL
from unlocked.decoding.sampling import filtered
from unlocked.errors import ConfigError
from unlocked_models import Batch, Chain
from unlocked_models.contract.stepping import remembering, takes_pieces
from unlocked_models.layers.attention import MultiHeadAttention

Logits = Callable[[Tensor], Tensor]  # all ids so far, (1, tokens), to those of the next one, (1, vocabulary)


def written_on(
    chain: Chain,
    data: DataSet,
    prompt: str,
    length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    greedy: bool = False,
    seed: int = 0,
) -> str:
    """The prompt, and what a network that was trained on a text goes on with; the same for the same seed.

    Args:
        prompt: of one longer than the positions of a Transformer the last ones are read; none: a line break.
        length: tokens to generate.
        temperature, top_k, top_p: `sampling.filtered`.
        greedy: the likeliest token always; the three before are then without effect.

    Raises `ConfigError`, one line, for data that are no text, a prompt with what its vocabulary lacks, and values out
    of range.
    """
    from unlocked.data.words.tokenize import decode, encode, from_json, unknown_in

    if length < 1:
        raise ConfigError(f"length: must be at least 1, got {length}")
    filtered(torch.zeros(1, 2), temperature, top_k, top_p)  # refuses what is no such number
    if data.tokenizer is None:
        raise ConfigError(f"data.name: {data.name} is no text: it comes without a tokenizer, which would read a prompt")
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
    """`length` ids that go on after those `begun`, none of them a special one."""
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
        out: Tensor = chain(ids, Batch(ids, ids))[:, -1].clone()
        return out

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
