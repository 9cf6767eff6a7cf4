"""docs/reference/errors.md: every sentence that a user can meet, from where it stands in the code, with its cause.

A sentence is what FactcliError and its kinds, `without_effect` and `note` are given; what is filled in stands in ⟨⟩.
Its cause is the condition around it, in the function that says it.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from factcli.recipe.commands import COMMANDS
from factcli.recipe.fields import Declared

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "factcli"
PAGE = ROOT / "docs" / "reference" / "errors.md"
CODES = {
    "FactcliError": 1, "Lacking": 1, "CheckFailed": 1, "UsageError": 2, "without_effect": 2, "ValueError": 2, "note": 0,
}  # fmt: skip
LONGEST = 160  # of a condition that is shown
_HEAD = """# Errors and notes

Made by `python -m pages` from the code. What stops a command is one line on stderr with exit code 1 (something that you
can put right) or 2 (wrong usage); a note stops nothing, and has none. What is filled in stands in ⟨ ⟩. The cause is the
condition under which the sentence is said, as the code has it, in the function that is named.
"""


@dataclass(frozen=True)
class Sentence:
    """What is said, its exit code (0 for a note), the function it is said in, and the condition for it."""

    text: str
    code: int
    place: str
    cause: str


def sentences() -> list[Sentence]:
    """Every one, in the order of rooms, files and lines."""
    found: dict[Sentence, None] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        if file.parent.name != "remote_code":
            found |= dict.fromkeys(_of_file(file))
    return list(found)


def page() -> str:
    lines, room = [_HEAD], ""
    for one in sentences():
        if one.place.partition(".")[0] != room:
            room = one.place.partition(".")[0]
            lines += ["", f"## {room}", "", "| code | sentence | said in | when |", "|---|---|---|---|"]
        cause = "`" + one.cause.replace("|", "\\|") + "`" if one.cause else ""
        lines.append(f"| {one.code or 'note'} | {_cell(one.text)} | `{one.place}` | {cause} |")
    lines += ["", *_values(), "", *_rules()]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    for sign in "\\|*_<>[]`":
        text = text.replace(sign, f"\\{sign}")
    return text


def _of_file(file: Path) -> Iterator[Sentence]:
    tree = _tree(file)
    module = ".".join(part for part in file.relative_to(PACKAGE).with_suffix("").parts if part != "__init__")
    yield from _walk(tree, module, None, "", "recipe" in module)


def _walk(node: ast.AST, module: str, function: ast.AST | None, cause: str, values: bool) -> Iterator[Sentence]:
    """What is said below a node; `values` counts ValueErrors too: those that say what is wrong with a value."""
    if isinstance(node, ast.FunctionDef):
        function, cause = node, ""
    if isinstance(node, ast.Call):
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if name in CODES and node.args and (name != "ValueError" or values):
            place = f"{module}.{getattr(function, 'name', '')}".strip(".")
            yield from (Sentence(text, CODES[name], place, cause) for text in said(name, node, function))
    for field, value in ast.iter_fields(node):
        inner = cause
        if isinstance(node, ast.If) and field == "body":
            inner = ast.unparse(node.test)
        elif isinstance(node, ast.ExceptHandler) and field == "body":
            inner = f"except {ast.unparse(node.type)}" if node.type else "except"
        inner = inner if len(inner) <= LONGEST else inner[: LONGEST - 1] + "…"
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _walk(child, module, function, " ".join(inner.split()), values)


def said(name: str, call: ast.Call, function: ast.AST | None) -> list[str]:
    """The sentences of a call, with what is filled in between ⟨ and ⟩."""
    texts = [" ".join(text.split()) for text in variants(call.args[0], function)]
    if name == "without_effect":
        given = [template(arg) for arg in call.args]
        advice = f"leave it out, or {given[2]}" if len(given) > 2 else "leave it out"
        texts = [f"{given[0]} has no effect {given[1]}: {advice}."]
    return [text for text in texts if re.search(r"[a-z]{2}.* ", re.sub("⟨[^⟩]*⟩", "", text))]


def variants(node: ast.AST, function: ast.AST | None) -> list[str]:
    """What an expression may be as a text: of a name what the function assigns to it, of a call what the function of
    that name returns."""
    match node:
        case ast.IfExp(body=body, orelse=orelse):
            return variants(body, function) + variants(orelse, function)
        case ast.Name(id=name) if function is not None:
            assigned = [n.value for n in ast.walk(function) if isinstance(n, ast.Assign) and _assigns(n, name)]
            return [text for value in assigned if value is not node for text in variants(value, None)]
        case ast.Call():
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            inner = [n for f in _functions().get(name, ()) for n in ast.walk(f)]
            returned = [n.value for n in inner if isinstance(n, ast.Return) and n.value is not None]
            return [
                template(value) for value in returned if isinstance(value, ast.JoinedStr | ast.BinOp | ast.Constant)
            ]
        case _:
            return [template(node)]


def _assigns(node: ast.Assign, name: str) -> bool:
    return any(isinstance(target, ast.Name) and target.id == name for target in node.targets)


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def _functions() -> dict[str, list[ast.FunctionDef]]:
    """The functions of the package by name."""
    found: dict[str, list[ast.FunctionDef]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(_tree(file)):
            if isinstance(node, ast.FunctionDef):
                found.setdefault(node.name, []).append(node)
    return found


def template(node: ast.AST) -> str:
    """A string expression as text."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(template(value) for value in values)
        case ast.FormattedValue(value=ast.Constant() | ast.IfExp() | ast.JoinedStr() as value):
            return template(value)
        case ast.FormattedValue(value=value):
            return f"⟨{_called(value)}⟩"
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return template(left) + template(right)
        case ast.IfExp(body=body, orelse=orelse):
            return f"⟨{template(body)} / {template(orelse)}⟩" if template(orelse) else f"⟨{template(body)}⟩"
        case _:
            return f"⟨{_called(node)}⟩"


def _called(node: ast.AST) -> str:
    """A short name for what is filled in: the last word of an expression."""
    words = re.findall(r"[A-Za-z][A-Za-z_]+", re.sub(r"'[^']*'|\"[^\"]*\"", "", ast.unparse(node)))
    known = [word for word in words if word not in ("join", "str", "for", "in", "self", "repr", "map", "sorted", "len")]
    return (known[-1] if known else "…").replace("_", " ")


def values() -> dict[str, str]:
    """What is said of a wrong value of each option, by the option's name."""
    found: dict[str, str] = {}
    for command in COMMANDS:
        for one in command.options.values():
            if words := _must_be(one):
                found.setdefault(one.spelled, f"{one.spelled} ⟨value⟩ is {words}.")
    return dict(sorted(found.items()))


def _must_be(one: Declared) -> str:
    """What is wrong with a value, where it is not what an option must be; "" where any text is right."""
    if list(one.about.known):
        said = one.wrong(("⟨value⟩",) if one.several else "⟨value⟩") or ""
        return said.removeprefix("is ").replace("unknown: known", "unknown: ⟨did you mean another?⟩ known")
    bounds = {"below": one.about.ge, "not above": one.about.gt, "above": one.about.le, "not below": one.about.lt}
    limits = [f"{word} {limit:g}" for word, limit in bounds.items() if limit is not None]
    if one.about.called or not limits:
        return f"not {one.called}" if one.called and one.called != "a text" else ""
    return " or ".join([f"not {one.called}", *limits])


def _values() -> list[str]:
    head = (
        "A value that an option cannot have (2). In a recipe the same is said as *RECIPE has KEY: VALUE, which is …*. "
        "An empty text *is empty: leave it out, or give a value*; a number may not be infinite."
    )
    table = [f"| `{name}` | {_cell(said)} |" for name, said in values().items()]
    return ["## Values of options", "", head, "", "| option | sentence |", "|---|---|", *table]


def _rules() -> list[str]:
    """Options that have no effect beside others: the reasons, of every rule."""
    found: dict[str, None] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(_tree(file)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Rule" and len(node.args) > 1:
                found |= dict.fromkeys(_rule(node))
    return [
        "## Options without effect",
        "",
        "They are refused with *OPTION has no effect WHY: leave it out, or ADVICE.* (2); a key of a recipe that only "
        "an option contradicts is a note.",
        "",
        "| options | why | advice |",
        "|---|---|---|",
        *found,
    ]


def _rule(call: ast.Call) -> Iterator[str]:
    options, because, *rest = call.args
    names = [f"`{c.value}`" for c in ast.walk(options) if isinstance(c, ast.Constant)] or [f"⟨{_called(options)}⟩"]
    advice = template(rest[0]) if rest else ""
    for inner in ast.walk(because):
        if isinstance(inner, ast.Call) and getattr(inner.func, "id", "") == "unless":
            yield f"| {', '.join(names)} | {_cell(template(inner.args[1]))} | {_cell(advice)} |"
