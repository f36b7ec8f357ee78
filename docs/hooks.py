"""MkDocs hook: adds what stands elsewhere in the tree, the pictures of studies and a page of all configuration keys."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

from unlocked.config import schema
from unlocked.schema.describe import reference

ROOT = Path(__file__).parents[1]
STUDIES = "experiments/studies"
BAR = "\\|"


def on_files(files: Any, config: Any) -> Any:
    """Pictures as if they lay in docs/, and a page of all keys, from the schema."""
    for picture in sorted((ROOT / STUDIES).glob("*.png")):
        files.append(File.generated(config, f"{STUDIES}/{picture.name}", abs_src_path=str(picture)))
    files.append(
        File.generated(config, "configuration.md", content="# Configuration keys\n\n" + _bars(reference(schema())))
    )
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A link out of docs/ to a picture, right for a reader of the repository, becomes one inside the site."""
    inside = posixpath.relpath(STUDIES, posixpath.dirname(page.file.src_uri))
    return re.sub(rf"\]\((?:\.\./)+{STUDIES}/", f"]({inside}/", markdown)


def _bars(page: str) -> str:
    """Bars inside code are escaped for GitHub; Python-Markdown would show the backslash."""
    return re.sub(r"`([^`\n]*\\\|[^`\n]*)`", lambda code: f"<code>{code[1].replace(BAR, '&#124;')}</code>", page)
