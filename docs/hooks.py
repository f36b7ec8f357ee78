"""MkDocs hook: adds what stands elsewhere in the tree, the pictures of studies and a page of all configuration keys."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

from unlocked.schema.describe import describe_schema

ROOT = Path(__file__).parents[1]
STUDIES = "experiments/studies"


def on_files(files: Any, config: Any) -> Any:
    """Pictures as if they lay in docs/, and a page of all keys, from the schema."""
    for picture in sorted((ROOT / STUDIES).glob("*.png")):
        files.append(File.generated(config, f"{STUDIES}/{picture.name}", abs_src_path=str(picture)))
    files.append(File.generated(config, "configuration.md", content=key_page(describe_schema())))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A link out of docs/ to a picture, right for a reader of the repository, becomes one inside the site."""
    inside = posixpath.relpath(STUDIES, posixpath.dirname(page.file.src_uri))
    return re.sub(rf"\]\((?:\.\./)+{STUDIES}/", f"]({inside}/", markdown)


def key_page(schema: str) -> str:
    """A table per group of keys, from the lines `key: default  # type; meaning` of `unlocked train --help`."""
    groups: dict[str, list[str]] = {"the run": []}
    path: list[str] = []
    for line in schema.splitlines():
        key, rest = (part.strip() for part in line.split(":", 1))
        path = [*path[: (len(line) - len(line.lstrip())) // 2], key]
        if rest:
            default, _, comment = rest.partition("# ")
            kind, _, meaning = comment.partition("; ")
            cells = [f"<code>{cell}</code>" for cell in (".".join(path), default.strip(), kind)]
            row = " | ".join(cell.replace("|", "&#124;") for cell in (*cells, meaning))
            groups.setdefault(path[0] if len(path) > 1 else "the run", []).append(f"| {row} |")
    page = "# Configuration keys\n\nThe keys of a configuration, as `unlocked train --help` prints them.\n"
    for group, rows in groups.items():
        page += "\n".join([f"\n## {group}\n", "| key | default | type | meaning |", "|---|---|---|---|", *rows, ""])
    return page
