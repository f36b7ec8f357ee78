"""Dependencies point one way, lazy imports included: a room imports from the rooms below it, never from those above."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the ground up. Rooms of one line do not know each other, except that `ground` is one room.
LAYERS = [
    ["unlocked_models"],
    ["ground"],
    ["data", "chain", "tracking", "optim"],
    ["decoding"],
    ["drawing"],
    ["tasks"],
    ["schemes"],
    ["config"],
    ["plan"],
    ["engine"],
    ["launch", "runs", "comparing"],
    ["loop", "generate", "insight", "reporting"],
    ["studies"],
    ["jobs", "bench", "testing"],
    ["cli"],
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
FILES = {
    ".".join(path.relative_to(base).with_suffix("").parts).removesuffix(".__init__"): path
    for base, package in ((ROOT / "platform", "unlocked"), (ROOT / "models", "unlocked_models"))
    for path in sorted((base / package).rglob("*.py"))
}


def imported(path: Path) -> Iterator[str]:
    """Modules of ours that a file imports anywhere, functions included, but for type checkers alone."""
    tree = ast.parse(path.read_text())
    typing = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING")
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in typing:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in FILES)
        elif isinstance(node, ast.ImportFrom) and node.module in FILES:
            members = [f"{node.module}.{name.name}" for name in node.names]
            yield from (member if member in FILES else str(node.module) for member in members)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (name.value for name in node.args if isinstance(name, ast.Constant) and name.value in FILES)


IMPORTS = {name: set(imported(path)) - {name} for name, path in FILES.items()}


def room(module: str) -> str:
    package, *rest = module.split(".")
    if package == "unlocked_models":
        return package
    if (
        not rest
        or rest[0] in ("schema", "security")
        or (len(rest) == 1 and not (ROOT / "platform/unlocked" / rest[0]).is_dir())
    ):
        return "ground"
    return rest[0]


def test_every_room_has_a_layer():
    assert {room(name) for name in FILES} == set(LEVEL)


@pytest.mark.parametrize("name", sorted({room(name) for name in FILES}))
def test_a_room_imports_from_below_only(name):
    upward = [
        f"{module} imports {other}"
        for module, others in IMPORTS.items()
        for other in others
        if room(module) == name
        and room(other) != name
        and LEVEL[room(other)] >= LEVEL[name]
        and module not in ("unlocked", "unlocked.__main__")  # the public names, and `python -m unlocked`
    ]
    assert upward == []


def test_no_file_imports_itself_by_a_detour():
    seen: dict[str, int] = {}  # 1: on the way, 2: done

    def visit(module: str, way: list[str]) -> None:
        assert seen.get(module) != 1, " -> ".join([*way, module])
        if module not in seen:
            seen[module] = 1
            for other in sorted(IMPORTS[module]):
                visit(other, [*way, module])
            seen[module] = 2

    for module in sorted(IMPORTS):
        visit(module, [])


def test_a_lazy_import_is_seen(tmp_path):
    file = tmp_path / "lazy.py"
    file.write_text("def f():\n    from unlocked.cli import main\n    from unlocked import errors\n")
    assert set(imported(file)) == {"unlocked.cli.main", "unlocked.errors"}
