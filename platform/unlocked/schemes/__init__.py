"""The schemes: each answers which gradient g_k is injected at the output h_k of module k."""

from unlocked.schemes.alignment import Alignment
from unlocked.schemes.backprop import Backprop
from unlocked.schemes.base import ModuleLearner, Ports
from unlocked.schemes.blockwise import BlockLearner
from unlocked.schemes.declarations import Beside
from unlocked.schemes.denoise import Denoise
from unlocked.schemes.dfa import DFA
from unlocked.schemes.divergence import CD, PCD
from unlocked.schemes.dni import CDNI, DNI
from unlocked.schemes.evolution import STRATEGIES, Evolution, Genome, Strategy, Trial, register_strategy
from unlocked.schemes.frozen import Frozen
from unlocked.schemes.hebbian import Hebbian
from unlocked.schemes.local import Local
from unlocked.schemes.precision import DTYPES, SHORT
from unlocked.schemes.proposing import Annealing, WeightSearch
from unlocked.schemes.registry import SCHEMES, declared, options_of, register_scheme
from unlocked.schemes.spec import ModuleSpec, Turns
from unlocked.schemes.stacking import Stacking

__all__ = [
    "CD",
    "CDNI",
    "DFA",
    "DNI",
    "DTYPES",
    "PCD",
    "SCHEMES",
    "SHORT",
    "STRATEGIES",
    "Alignment",
    "Annealing",
    "Backprop",
    "Beside",
    "BlockLearner",
    "Denoise",
    "Evolution",
    "Frozen",
    "Genome",
    "Hebbian",
    "Local",
    "ModuleLearner",
    "ModuleSpec",
    "Ports",
    "Stacking",
    "Strategy",
    "Trial",
    "Turns",
    "WeightSearch",
    "declared",
    "options_of",
    "register_scheme",
    "register_strategy",
]
