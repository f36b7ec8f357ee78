"""Control: starts of an environment of gymnasium. An example is one of them, and its target the seed of its episode."""

from __future__ import annotations

from typing import Any

import numpy as np

from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.source import Source
from unlocked.data.sets.environments import EXTRA, Environment, package, scale_of
from unlocked.errors import DataError
from unlocked.seeding import derive_seed


@register_data("control", task="control", family="made")
def control(
    source: Source,
    environment: str = "CartPole-v1",
    starts: int = 1000,
    validations: int = 20,
    tests: int = 20,
    options: dict[str, Any] = {},  # noqa: B006  (read, never changed)
    levels: list[dict[str, Any]] = [],  # noqa: B006
    level: int = 1,
) -> RawData:
    """Starts of an environment of gymnasium: CartPole-v1, Pendulum-v1, MountainCar-v0, Acrobot-v1 or one of your own.

    `x` is the first observation, divided by its bounds if it has some; a net maps observations to a value for each
    discrete action, of which the largest is taken, or to continuous actions, which are clipped. `starts`, `validations`
    and `tests` are drawn from `data.seed`, all different. `options` are gymnasium's keywords, such as
    {max_episode_steps: 200}. `levels` are of a curriculum, the easiest first: numbers of the physics, such as
    {length: 1.0}, and then `level` is where it begins.
    """
    for name, value in (("starts", starts), ("validations", validations), ("tests", tests)):
        if value < 1:
            raise DataError(f"data.options.{name}: must be at least 1, got {value}")
    if level < 1:
        raise DataError(f"data.options.level: must be at least 1, got {level}")
    if level > max(1, len(levels)):
        raise DataError(f"data.options.level: {level}, but data.options.levels has {len(levels)}")
    spec = Environment(environment, options, levels[level - 1] if levels else {})
    env = spec.make()
    names = _actions(environment, env, package())
    seeds = np.random.default_rng(derive_seed(source.seed, "starts")).choice(
        2**31 - 1, starts + validations + tests, replace=False
    )
    scale, encoded = scale_of(env), spec.encoded()
    x = np.stack([env.reset(seed=int(seed))[0] for seed in seeds]).astype(np.float32) / scale
    env.close()
    at = (starts, starts + validations)

    def extras(n: int) -> dict[str, np.ndarray]:
        return {EXTRA: np.broadcast_to(encoded, (n, len(encoded))).copy()}

    return RawData(
        x[: at[0]],
        seeds[: at[0]],
        x_test=x[at[1] :],
        y_test=seeds[at[1] :],
        x_validation=x[at[0] : at[1]],
        y_validation=seeds[at[0] : at[1]],
        extras_train=extras(starts),
        extras_validation=extras(validations),
        extras_test=extras(tests),
        class_names=names,
    )


def _actions(name: str, env: Any, gymnasium: Any) -> list[str]:
    """A name for each output of the net."""
    if not isinstance(env.observation_space, gymnasium.spaces.Box) or len(env.observation_space.shape) != 1:
        raise DataError(
            f"data.options.environment: observations of {name} are {env.observation_space}, and a net takes a row of "
            f"numbers"
        )
    actions = env.action_space
    if isinstance(actions, gymnasium.spaces.Discrete):
        return [f"action {i}" for i in range(int(actions.n))]
    if isinstance(actions, gymnasium.spaces.Box) and len(actions.shape) == 1:
        return [f"value {i}" for i in range(actions.shape[0])]
    raise DataError(f"data.options.environment: actions of {name} are {actions}, neither discrete nor a row of numbers")
