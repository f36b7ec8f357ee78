"""A `tokenizer.json` that another program trained, in the format of Hugging Face's `tokenizers`, with the ids of here.

Tokens keep their order after `data.words.text.SPECIAL`; its own unknown token, if it has one, is `UNK`. What would
change a text unseen is left out: truncation, padding, a post-processor that adds tokens, merges that are dropped by
chance. The file is data: JSON of a bounded size, from which the library's own parser builds one of its four models.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from tokenizers import Regex, Tokenizer, normalizers

from unlocked.data.words.text import SPECIAL, UNK

MOST_BYTES = 100_000_000
NO_SIGN = "\u2060"  # a word joiner, which no token holds
DICTS = ("BPE", "WordPiece", "WordLevel")  # models whose vocabulary is ids by token; that of Unigram is a list


def with_our_ids(stored: str) -> str:
    """The JSON of a tokeniser whose vocabulary begins with `SPECIAL`, without gaps.

    Raises `ValueError`, `TypeError` or `KeyError` if it is not of the format.
    """
    held = json.loads(stored)
    model = held["model"]
    kind = model.get("type") or ("BPE" if "merges" in model else "WordLevel")
    if kind not in (*DICTS, "Unigram"):
        raise ValueError(f"its model is {kind!r}; it can be {', '.join(DICTS)} or Unigram")
    added = held.get("added_tokens") or []
    if kind == "Unigram":
        scores = {token: float(score) for token, score in model["vocab"]}
        ids, own = {token: i for i, token in enumerate(scores)}, None
        if model.get("unk_id") is not None:
            own = model["vocab"][model["unk_id"]][0]
    else:
        ids, own = dict(model["vocab"]), model.get("unk_token")
    ids |= {each["content"]: int(each["id"]) for each in added}
    taken = {*SPECIAL, own}
    tokens = [*SPECIAL, *(token for token, _ in sorted(ids.items(), key=lambda pair: (int(pair[1]), pair[0]))
                          if token not in taken)]  # fmt: skip
    number = {token: i for i, token in enumerate(tokens)}
    if kind == "Unigram":
        least = min(scores.values(), default=0.0) - 100.0  # of what no text is meant to be cut into
        model |= {"vocab": [[token, least if token in SPECIAL else scores.get(token, least)] for token in tokens]}
        model["unk_id"] = UNK
    else:
        model |= {"vocab": number, "unk_token": SPECIAL[UNK]}
    if kind == "BPE":
        model["dropout"] = None
    kept = [each | {"id": number[each["content"]]} for each in added if each["content"] not in taken]
    held |= {"added_tokens": kept, "truncation": None, "padding": None, "post_processor": None}
    return json.dumps(held)


def foreign(stored: str) -> Tokenizer:
    """As `with_our_ids`; special tokens that are written in a text are no special tokens."""
    tokenizer = Tokenizer.from_str(with_our_ids(stored))
    own = [] if tokenizer.normalizer is None else [tokenizer.normalizer]
    inside = "|".join(re.escape(token[1:]) for token in SPECIAL)
    apart = normalizers.Replace(Regex(rf"<(?={inside})"), f"<{NO_SIGN}")
    tokenizer.normalizer = normalizers.Sequence([*own, apart])
    return tokenizer


def read(path: Path) -> str:
    """The text of a file of a bounded size. Raises `ValueError` for a larger one."""
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES / 1e6:.0f} MB, which no vocabulary needs")
    return content.decode("utf-8-sig")
