"""What mkdocs does beside its own work: pages made of files outside this folder, and the package as it lies when installed."""

import re
import shutil
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
# The pages that stand elsewhere in the repository, and what they are called here.
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/RESULTS.md": "results.md",
}
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


def on_startup(**kwargs):
    """Lays the package out as it is installed: `applications` lies beside `keras_tx` in the repository, and within it then."""
    documented = ROOT / "build" / "documented"
    shutil.rmtree(documented, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "keras_tx", documented / "keras_tx", ignore=ignored)
    shutil.copytree(ROOT / "applications", documented / "keras_tx" / "applications", ignore=ignored)


def on_files(files, config):
    """Adds the pages that stand elsewhere."""
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown, page, config, files):
    """Points links at the pages of the site; they are written for a reader of the repository."""
    sources = {page: source for source, page in OUTSIDE.items()}
    place = ROOT / sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def rewritten(link):
        target = (place.parent / link[1]).resolve().relative_to(ROOT).as_posix()
        target = OUTSIDE.get(target, target.removeprefix("docs/"))
        return "](" + "../" * page.file.src_uri.count("/") + target

    return LINK.sub(rewritten, markdown)
