"""The house as docs/architecture.md draws it: rooms, arrows that go one way, functions that can be read."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import factcli

PACKAGE = Path(factcli.__file__).parent
PAGE = PACKAGE.parent / "docs" / "architecture.md"
MOST_PARAMETERS = 12
MOST_LINES = 60  # of a command, without its docstring


def modules() -> dict[str, Path]:
    """Dotted names below the package."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def room(module: str) -> str:
    """The folder of a module; a loose module is its own room."""
    return module.partition(".")[0]


def for_types_only(tree: ast.Module) -> set[int]:
    return {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }


def imports(module: str, file: Path) -> Iterator[tuple[str, bool]]:
    """The modules of the package that one imports, and whether at its top."""
    tree, known = ast.parse(file.read_text(encoding="utf-8")), modules()
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    package = [part for part in package if part]
    skipped, top = for_types_only(tree), {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and id(node) not in skipped:
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            name = ".".join(part for part in base if part)
            for alias in node.names:
                inner = f"{name}.{alias.name}".removeprefix(".")
                yield (inner if inner in known else name), id(node) in top


def drawn() -> list[str]:
    """The rooms in the order of the page's table, from the top."""
    return re.findall(r"^\| `([a-z_]+)/?` \|", PAGE.read_text(encoding="utf-8"), re.M)


def test_the_page_names_every_room() -> None:
    folders = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    loose = {file.stem for file in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert len(drawn()) == len(set(drawn()))
    assert set(drawn()) == folders | loose


def test_arrows_go_down() -> None:
    order = drawn()
    wrong = [
        f"{module} -> {other}"
        for module, file in modules().items()
        for other, at_top in imports(module, file)
        if at_top and room(module) in order and room(other) in order
        if order.index(room(module)) > order.index(room(other))
    ]
    assert not wrong


def test_no_module_imports_itself_by_way_of_others() -> None:
    edges = {m: {other for other, at_top in imports(m, file) if at_top} - {m, ""} for m, file in modules().items()}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for other in edges.get(module, ()):
                if not module.startswith(f"{other}."):  # a package's own list of its modules
                    visit(other, (*path, module))
            done.add(module)

    for module in edges:
        visit(module, ())


def test_nobody_imports_the_command_line() -> None:
    assert not [m for m, f in modules().items() for o, _ in imports(m, f) if room(o) == "cli" and room(m) != "cli"
                and m != "__main__"]  # fmt: skip


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for module, file in modules().items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                yield f"{module}.{node.name}", node


def test_no_function_has_more_parameters_than_one_can_hold_in_mind() -> None:
    many = {
        name: count
        for name, node in functions()
        if (count := len(node.args.posonlyargs) + len(node.args.args) + len(node.args.kwonlyargs)) > MOST_PARAMETERS
    }
    assert not many


def test_commands_are_short() -> None:
    lengths = {}
    for name, node in functions():
        if room(name) == "commands":
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lengths[name] = (node.end_lineno or 0) - body[0].lineno + 1
    assert len(lengths) > 10
    assert not {name: lines for name, lines in lengths.items() if lines > MOST_LINES}


def test_what_trains_is_not_imported_by_what_does_not(world: dict[str, str]) -> None:
    code = """if True:
        import sys
        import transformers.modeling_utils  # which imports accelerate where it is
        before = set(sys.modules)
        import factcli
        for name in ("load", "convert", "evaluate", "bench", "diagnose", "inspect", "push"):
            getattr(factcli, name)
        print(sorted({"datasets", "accelerate", "sklearn"} & (set(sys.modules) - before)))
    """
    done = subprocess.run([sys.executable, "-c", code], env=world, capture_output=True, text=True, cwd=PACKAGE.parent)
    assert done.stdout.strip() == "[]", done.stderr
