"""What a run says of itself while it trains: it diverges, its units are dead or saturated, a module does not learn.

Each is said once, with what usually helps. Nothing is ended: a number that is not finite ends a run elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from unlocked.metrics import by_module

UNITS = "units/"  # counted at a probe and told with the segment after it, so they are no series of the run
DIVERGED = 5.0  # times the lowest loss so far, and above the first one
DEAD, SATURATED = 0.5, 0.5  # shares of the units of a module
UNALIGNED, PROBES = 0.02, 3  # cosine with the true gradient, at as many probes in a row


class Watch:
    """Args: note: takes a line; helps: what usually helps a module of the run's scheme that does not learn."""

    def __init__(self, note: Callable[[str], None], helps: str):
        self._note, self._helps = note, helps
        self._said: set[str] = set()
        self._first: float | None = None
        self._lowest = float("inf")
        self._unaligned: dict[int, int] = {}

    def see(self, step: int, values: Mapping[str, float]) -> None:
        """The metrics of a segment, or of a probe."""
        loss = values.get("train/loss")
        if loss is not None:
            self._see_loss(step, loss)
        for k, share in by_module(values, "units/dead/").items():
            if share > DEAD:
                self._say(
                    f"dead {k}",
                    f"step {step}: {share:.0%} of the rectified units of module {k} give 0 for every example of the "
                    f"probe; a lower optimizer.lr, init={{name: he}}, model.norm=batch or activation=leaky_relu "
                    f"usually helps",
                )
        for k, share in by_module(values, "units/saturated/").items():
            if share > SATURATED:
                self._say(
                    f"saturated {k}",
                    f"step {step}: {share:.0%} of the outputs of module {k}'s sigmoids are at their flat ends; a lower "
                    f"optimizer.lr, init={{name: xavier}}, model.norm=batch or activation=relu usually helps",
                )
        if step:
            for k, cosine in by_module(values, "align/").items():
                self._see_alignment(step, k, cosine)

    def _see_loss(self, step: int, loss: float) -> None:
        self._first = loss if self._first is None else self._first
        self._lowest = min(self._lowest, loss)
        if loss > self._first > 0 and loss > DIVERGED * self._lowest:
            self._say(
                "diverged",
                f"step {step}: the loss diverges: {loss:.4g}, from {self._lowest:.4g} at its lowest; a lower "
                f"optimizer.lr, optimizer.clip_norm=1 or optimizer.warmup usually helps",
            )

    def _see_alignment(self, step: int, k: int, cosine: float) -> None:
        self._unaligned[k] = self._unaligned.get(k, 0) + 1 if cosine < UNALIGNED else 0
        if self._unaligned[k] >= PROBES:
            self._say(
                f"unaligned {k}",
                f"step {step}: module {k} does not learn: at {PROBES} probes in a row its gradient has had a cosine "
                f"below {UNALIGNED} with the true one (align/module_{k}, now {cosine:.3f}); {self._helps}",
            )

    def _say(self, what: str, line: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self._note(line)
