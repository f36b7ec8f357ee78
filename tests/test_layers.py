"""Dependencies point one way, lazy imports included: a room imports from the rooms below it, never from those above.

The command line itself needs little: `unlocked --help` must not wait for PyTorch. `make lint` runs this file alone.
"""

import ast
from collections.abc import Iterator
from functools import cache
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
# The rooms of `unlocked.data`; `data` is its files that lie in no room. Its public names import from all.
LAYERS_OF_DATA = [
    ["data.files"],
    ["data.rows"],
    ["data"],
    ["data.words", "data.tables", "data.graphs"],
    ["data.transforms", "data.loading"],
    ["data.media"],
    ["data.new"],
    ["data.sets"],
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
LEVEL_IN_DATA = {room: level for level, rooms in enumerate(LAYERS_OF_DATA) for room in rooms}
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


@cache
def imports() -> dict[str, set[str]]:
    return {name: set(imported(path)) - {name} for name, path in FILES.items()}


SLOW_TO_IMPORT = {"torch", "mlflow", "ray", "optuna", "rich", "numpy", "scipy", "pandas", "sklearn", "matplotlib"}


def imported_at_once(path: Path) -> Iterator[str]:
    """What importing a file imports, also of others: functions, which import when they are called, are left out."""
    waiting: list[ast.AST] = list(ast.parse(path.read_text()).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield module
            yield from (f"{module}.{name.name}" for name in node.names if f"{module}.{name.name}" in FILES)
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def ways_to_slow_imports(start: str) -> list[str]:
    """One way from a module of ours to each import that takes long: `a -> b -> torch`."""
    ways, waiting = {start: [start]}, [start]
    found: dict[str, list[str]] = {}
    while waiting:
        module = waiting.pop(0)
        for other in imported_at_once(FILES[module]):
            if (top := other.partition(".")[0]) in SLOW_TO_IMPORT:
                found.setdefault(top, [*ways[module], top])
            words = other.split(".")
            for each in (".".join(words[:end]) for end in range(1, len(words) + 1)):  # packages of a module come first
                if each in FILES and each not in ways:
                    ways[each] = [*ways[module], each]
                    waiting.append(each)
    return [" -> ".join(way) for way in found.values()]


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
        for module, others in imports().items()
        for other in others
        if room(module) == name
        and room(other) != name
        and LEVEL[room(other)] >= LEVEL[name]
        and module not in ("unlocked", "unlocked.__main__")  # the public names, and `python -m unlocked`
    ]
    assert upward == []


def room_in_data(module: str) -> str:
    """`module` lies in `unlocked.data`."""
    folder = FILES[module].parent.relative_to(ROOT / "platform/unlocked")
    return ".".join(folder.parts[:2])


IN_DATA = sorted(module for module in FILES if room(module) == "data" and module != "unlocked.data")


def test_every_room_of_data_has_a_layer():
    assert {room_in_data(module) for module in IN_DATA} == set(LEVEL_IN_DATA)


def test_a_room_of_data_imports_from_below_only():
    upward = [
        f"{module} imports {other}"
        for module in IN_DATA
        for other in sorted(imports()[module] & {*IN_DATA, "unlocked.data"})
        if other == "unlocked.data"
        or (
            room_in_data(other) != room_in_data(module)
            and LEVEL_IN_DATA[room_in_data(other)] >= LEVEL_IN_DATA[room_in_data(module)]
        )
    ]
    assert upward == []


def test_no_file_imports_itself_by_a_detour():
    seen: dict[str, int] = {}  # 1: on the way, 2: done

    def visit(module: str, way: list[str]) -> None:
        assert seen.get(module) != 1, " -> ".join([*way, module])
        if module not in seen:
            seen[module] = 1
            for other in sorted(imports()[module]):
                visit(other, [*way, module])
            seen[module] = 2

    for module in sorted(imports()):
        visit(module, [])


def test_a_lazy_import_is_seen(tmp_path):
    file = tmp_path / "lazy.py"
    file.write_text("def f():\n    from unlocked.cli import main\n    from unlocked import errors\n")
    assert set(imported(file)) == {"unlocked.cli.main", "unlocked.errors"}


@pytest.mark.parametrize("module", ["unlocked.cli.parser", "unlocked.cli.main"])
def test_the_command_line_imports_nothing_that_takes_long(module):
    assert ways_to_slow_imports(module) == []


def test_a_way_to_a_slow_import_is_told(tmp_path, monkeypatch):
    texts = {
        "unlocked.cli.one": "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import ray\nelse:\n    import rich.table\n"
        "def f():\n    import mlflow\n"
        "try:\n    from unlocked.two import three\nexcept ImportError:\n    pass\n",
        "unlocked.two": "",
        "unlocked.two.three": "from torch import nn\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        monkeypatch.setitem(FILES, name, tmp_path / name)
    assert ways_to_slow_imports("unlocked.cli.one") == [
        "unlocked.cli.one -> rich",
        "unlocked.cli.one -> unlocked.two.three -> torch",
    ]
