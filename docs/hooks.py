"""MkDocs hook: pages show the pictures of experiments/studies, which lie beside the studies that made them."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
STUDIES = "experiments/studies"


def on_files(files: Any, config: Any) -> Any:
    """Adds the pictures as if they lay in docs/."""
    for picture in sorted((ROOT / STUDIES).glob("*.png")):
        files.append(File.generated(config, f"{STUDIES}/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A link out of docs/ to a picture, right for a reader of the repository, becomes one inside the site."""
    inside = posixpath.relpath(STUDIES, posixpath.dirname(page.file.src_uri))
    return re.sub(rf"\]\((?:\.\./)+{STUDIES}/", f"]({inside}/", markdown)
