"""Hooks of MkDocs: pages that stand elsewhere in the repository. Results (recipes/results), the changelog, and the
notebook, which is executed."""

import re
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter
from nbconvert.preprocessors import ExecutePreprocessor

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "recipes" / "results"
NOTEBOOK = ROOT / "docs" / "first-steps.ipynb"
SECONDS = 240  # that a cell of the notebook may take
INDEX = """What was measured, and by which script, is said on each page; raw numbers, versions and dates are in the JSON
files beside them in `recipes/results/`. Every number elsewhere in this documentation is held to one of these files by a
test."""


def on_config(config: MkDocsConfig) -> None:
    """The section of results lists every page that is there."""
    for entry in config.nav or []:
        if isinstance(entry, dict) and "Results" in entry:
            entry["Results"] = ["results/index.md", *(f"results/{page.name}" for page in result_pages())]


def on_files(files: Files, config: MkDocsConfig) -> None:
    for file in [f for f in files if f.src_uri.endswith(".ipynb")]:
        files.remove(file)
    made = {"changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), "results/index.md": index_of_results()}
    made |= {f"results/{page.name}": page.read_text(encoding="utf-8") for page in result_pages()}
    for uri, text in made.items():
        files.append(File.generated(config, uri, content=text))
    for picture in sorted([*RESULTS.glob("*.png"), *RESULTS.glob("*.svg")]):
        files.append(File.generated(config, f"results/{picture.name}", content=picture.read_bytes()))
    text, pictures = notebook()
    files.append(File.generated(config, "first-steps.md", content=text))
    for name, data in pictures.items():
        files.append(File.generated(config, name, content=data))


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Pages name files of the repository as they are found on its own pages; on the site results are a folder."""
    return re.sub(r"\]\((?:\.\./)+recipes/results/([^)]+)\)", lambda m: f"]({_up(page)}results/{m[1]})", markdown)


def _up(page: Any) -> str:
    return "../" * page.file.src_uri.count("/")


def result_pages() -> list[Path]:
    return sorted(RESULTS.glob("*.md"))


def index_of_results() -> str:
    """What there is."""
    lines = ["# Results", "", INDEX, ""]
    for page in result_pages():
        title = page.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        lines.append(f"- [{title}]({page.name})")
    return "\n".join(lines) + "\n"


def notebook() -> tuple[str, dict[str, bytes]]:
    """The notebook, executed, as Markdown, and its pictures by name. Raises what a cell of it raises."""
    book = nbformat.read(NOTEBOOK, as_version=4)
    ExecutePreprocessor(timeout=SECONDS, kernel_name="python3").preprocess(book, {"metadata": {"path": str(ROOT)}})
    for cell in book.cells:  # what libraries say on stderr names folders of this machine
        cell["outputs"] = [o for o in cell.get("outputs", ()) if o.get("name") != "stderr"]
    text, resources = MarkdownExporter().from_notebook_node(book)
    return text, dict(resources["outputs"])
