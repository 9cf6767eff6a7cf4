"""What those who fork the repository run: workflows that are valid and call what is there; a Dockerfile likewise."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))


def test_they_are_as_the_schema_says() -> None:
    """That of SchemaStore, which comes with the package; nothing is fetched."""
    words = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


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
