"""Boltzmann machines: energies of units, learned by what they make likely. `energy` says what all of them share."""

from unlocked_models.boltzmann import belief, deep, general, restricted
from unlocked_models.boltzmann.belief import LabelRBM
from unlocked_models.boltzmann.energy import MOST_UNITS, BoltzmannBlock, annealed
from unlocked_models.boltzmann.restricted import RBM, rbm

__all__ = [
    "MOST_UNITS",
    "RBM",
    "BoltzmannBlock",
    "LabelRBM",
    "annealed",
    "belief",
    "deep",
    "general",
    "rbm",
    "restricted",
]
