"""Word prediction with the full softmax: skip-gram and CBOW as their first paper has them (Mikolov et al. 2013,
arXiv:1310.4546, equations 1 and 2).

    L = mean over pairs of  -log p(y | h),    p(c | h) = exp(u_c . h) / sum over all words w of exp(u_w . h)
"""

from __future__ import annotations

from unlocked.tasks.base import register_task
from unlocked.tasks.tokens import Tokens
from unlocked.tasks.word_vectors import WordVectors
from unlocked_models.contract.batch import Example


@register_task("word_prediction")
class WordPrediction(WordVectors, Tokens):
    """A word at every position, of which the text itself is the source: outputs, targets and loss as for `Tokens`.

    Of any text, by a transform that says which word is asked for: `skipgram` (one near it) or `cbow` (the one in the
    middle), both with `negatives: 0`, and a model with `softmax: full`.
    """

    @classmethod
    def misfit(cls, data_task: str, example: Example) -> str | None:
        if example.vocabulary is None or example.y_real or len(example.y_shape) != 1:
            return "asks for one word at every position; data.transforms=[{name: cbow, negatives: 0}] does, of a text"
        return None
