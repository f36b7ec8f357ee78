"""Molecules of SD files as graphs."""

import pytest

from unlocked.data.graphs.sdf import ELEMENTS, MOST, as_graph, molecules
from unlocked.errors import DataError

# a ring of three carbons, an oxygen on it by a double bond, and a charged nitrogen
RING = (["C", "C", "C", "O", "N"], [(1, 2, 1), (2, 3, 1), (3, 1, 1), (1, 4, 2), (2, 5, 1)], "M  CHG  1   5   1\n")


def read(tmp_path, text):
    path = tmp_path / "made.sdf"
    path.write_text(text)
    return list(molecules(path))


def parts(graph):
    """Elements, bonds, hydrogens, charges and rings of the atoms."""
    element, degree, hydrogens = (len(ELEMENTS) + 1, MOST + 1, MOST + 1)
    x = graph.x
    return (
        x[:, :element].argmax(1).tolist(),
        x[:, element : element + degree].argmax(1).tolist(),
        x[:, element + degree : element + degree + hydrogens].argmax(1).tolist(),
        x[:, -2].tolist(),
        x[:, -1].tolist(),
    )


def test_a_molecule_is_a_graph_of_its_atoms_and_bonds(tmp_path, sd_record):
    (molecule,) = read(tmp_path, sd_record(*RING, SOL="-1.5"))
    assert molecule.properties == {"SOL": "-1.5"}
    graph = as_graph(molecule)
    assert parts(graph) == (
        [0, 0, 0, 2, 1],
        [3, 3, 2, 1, 1],
        [0, 1, 2, 0, 3],  # C=O has none, CH, CH2, =O none, NH3+
        [0, 0, 0, 0, 1],
        [1, 1, 1, 0, 0],
    )
    assert graph.edges.T.tolist()[:5] == [[0, 1], [1, 2], [2, 0], [0, 3], [1, 4]]
    assert graph.edges[:, 5:].tolist() == graph.edges[::-1, :5].tolist()
    orders, ring = graph.features[:5, :MOST].argmax(1) + 1, graph.features[:5, -1]
    assert orders.tolist() == [1, 1, 1, 2, 1]
    assert ring.tolist() == [1, 1, 1, 0, 0]


def test_hydrogens_that_are_written_are_counted_and_left_out(tmp_path, sd_record):
    (molecule,) = read(tmp_path, sd_record(["H", "C", "O", "H"], [(1, 2, 1), (2, 3, 1), (3, 4, 1)]))
    graph = as_graph(molecule)
    assert parts(graph)[:3] == ([0, 2], [1, 1], [3, 1])
    assert graph.edges.tolist() == [[0, 1], [1, 0]]


def test_an_atom_alone_is_a_graph_without_edges(tmp_path, sd_record):
    graph = as_graph(read(tmp_path, sd_record(["Fe"], []))[0])
    assert graph.x[:, : len(ELEMENTS) + 1].argmax(1).tolist() == [len(ELEMENTS)]
    assert graph.edges.shape == (2, 0)


def test_what_is_no_molecule_is_one_line(tmp_path, sd_record):
    ring = sd_record(*RING)
    for text, words in (
        (sd_record([], []), "molecule 1 has no atoms"),
        (ring + sd_record(["C", "C"], [(1, 3, 1)]), "molecule 2 has a bond with atom 3 of 2"),
        (ring + sd_record(["C", "C"], [(0, 2, 1)]), "molecule 2 has a bond with atom 0 of 2"),
        (ring.replace("V2000", "V3000"), "molecule 1 is not an SD record of version V2000"),
        ("a\nb\n", "molecule 1 is not an SD record"),
    ):
        with pytest.raises(DataError, match=words):
            read(tmp_path, text)
