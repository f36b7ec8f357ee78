"""Molecules from SD files (V2000): atoms, bonds and properties as they are written, without a chemistry library.

Each molecule is a graph of its heavy atoms. Features of an atom: its element, how many bonds and how many hydrogens
it has, its charge, and whether it is in a ring; of a bond: its order, and whether it is in a ring. Hydrogens are those
that the usual valence of the element leaves, unless they are written as atoms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unlocked.data.graphs.arrays import Graph
from unlocked.errors import DataError

ELEMENTS = ("C", "N", "O", "F", "P", "S", "Cl", "Br", "I")  # one more for any other
VALENCES = {"C": 4, "N": 3, "O": 2, "F": 1, "P": 3, "S": 2, "Cl": 1, "Br": 1, "I": 1, "B": 3, "Si": 4}
MOST = 4  # bonds, hydrogens and orders are told apart up to here


@dataclass(frozen=True)
class Molecule:
    """`bonds (bonds, 3)`: two atoms, from 0, and the order (4: aromatic); `properties` by name."""

    elements: list[str]
    bonds: np.ndarray
    charges: np.ndarray
    properties: dict[str, str]


def molecules(path: Path) -> Iterator[Molecule]:
    """Raises `DataError`, one line, for a molecule that cannot be read or has no atom."""
    text = path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
    for number, block in enumerate(text.split("$$$$\n"), 1):
        if not block.strip():
            continue
        try:
            found = _molecule(block.split("\n"))
        except (IndexError, ValueError):
            raise DataError(f"{path}: molecule {number} is not an SD record of version V2000") from None
        if not found.elements:
            raise DataError(f"{path}: molecule {number} has no atoms")
        ends = found.bonds[:, :2]
        outside = ends[(ends < 0) | (ends >= len(found.elements))]
        if len(outside):
            raise DataError(f"{path}: molecule {number} has a bond with atom {outside[0] + 1} of {len(found.elements)}")
        yield found


def _molecule(lines: list[str]) -> Molecule:
    counts = lines[3]
    if "V2000" not in counts:
        raise ValueError
    atoms, bonds = int(counts[:3]), int(counts[3:6])
    elements = [line.split()[3] for line in lines[4 : 4 + atoms]]
    triples = [[int(line[i : i + 3]) for i in (0, 3, 6)] for line in lines[4 + atoms : 4 + atoms + bonds]]
    if len(elements) != atoms or len(triples) != bonds:
        raise ValueError
    charges = np.zeros(atoms, np.float32)
    for line in lines[4 + atoms + bonds :]:
        if line.startswith("M  CHG"):
            given = [int(word) for word in line.split()[3:]]
            charges[[atom - 1 for atom in given[::2]]] = given[1::2]
    properties = dict(re.findall(r"^> +<([^>]+)>.*\n(.*)", "\n".join(lines), re.MULTILINE))
    joined = np.array(triples, np.int64).reshape(-1, 3) - np.array([1, 1, 0])
    return Molecule(elements, joined, charges, properties)


def as_graph(molecule: Molecule) -> Graph:
    """Its heavy atoms; of a molecule of hydrogens alone, all."""
    heavy = np.array([element != "H" for element in molecule.elements])
    kept = np.flatnonzero(heavy if heavy.any() else ~heavy)
    number = np.full(len(heavy), -1)
    number[kept] = np.arange(len(kept))
    ends, orders = molecule.bonds[:, :2], molecule.bonds[:, 2]
    between = (number[ends] >= 0).all(1)
    pairs, kinds = number[ends[between]], orders[between].clip(1, MOST)
    ring = _in_ring(len(kept), pairs)

    written = np.zeros(len(heavy))  # hydrogens that are atoms
    valence = np.zeros(len(heavy))
    for (a, b), order in zip(ends, np.where(orders == MOST, 1.5, orders), strict=True):
        valence[[a, b]] += order
        written[a] += number[b] < 0
        written[b] += number[a] < 0
    usual = np.array([VALENCES.get(element, 0) for element in molecule.elements])
    hydrogens = (written + np.clip(usual + molecule.charges - np.ceil(valence), 0, MOST))[kept]

    degree = np.bincount(pairs.flatten(), minlength=len(kept))
    in_ring = np.zeros(len(kept))
    in_ring[pairs[ring].flatten()] = 1
    element = [ELEMENTS.index(e) if e in ELEMENTS else len(ELEMENTS) for e in np.array(molecule.elements)[kept]]
    x = np.concatenate(
        [
            np.eye(len(ELEMENTS) + 1)[element],
            np.eye(MOST + 1)[degree.clip(0, MOST)],
            np.eye(MOST + 1)[hydrogens.astype(int).clip(0, MOST)],
            np.stack([molecule.charges[kept], in_ring], 1),
        ],
        1,
    ).astype(np.float32)
    features = np.concatenate([np.eye(MOST)[kinds - 1], ring[:, None]], 1).astype(np.float32)
    both = np.concatenate([pairs, pairs[:, ::-1]]).T.reshape(2, -1)
    return Graph(x, both, np.concatenate([features, features]))


def _in_ring(nodes: int, pairs: np.ndarray) -> np.ndarray:
    """Whether each bond is in a ring: taking it away leaves its ends connected."""
    import networkx

    graph = networkx.Graph(pairs.tolist())
    graph.add_nodes_from(range(nodes))
    bridges = {frozenset(edge) for edge in networkx.bridges(graph)}
    return np.array([frozenset(pair) not in bridges for pair in pairs.tolist()], bool).reshape(-1)
