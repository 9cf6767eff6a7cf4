"""A card as metadata and text; our part of the text stands between two marks, so that the rest stays its owner's."""

import re
from typing import Any

import yaml

from ..files.written import BEGIN

END = "<!-- factcli: end -->"
RESULTS = ("<!-- factcli eval: begin -->", "<!-- factcli eval: end -->")
RUNTIMES = ("<!-- factcli runtimes: begin -->", "<!-- factcli runtimes: end -->")
SPEED = ("<!-- factcli bench: begin -->", "<!-- factcli bench: end -->")
_HEAD = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
_CARRIED = ("license", "license_name", "license_link", "language", "pipeline_tag", "datasets", "base_model")


def split_card(text: str) -> tuple[dict[str, Any], str]:
    """The metadata (empty where there are none that can be read) and the text below."""
    match = _HEAD.match(text)
    if match is None:
        return {}, text
    try:
        values = yaml.safe_load(match[1])
    except yaml.YAMLError:
        return {}, text[match.end() :]
    return (values if isinstance(values, dict) else {}), text[match.end() :]


def join_card(metadata: dict[str, Any], text: str) -> str:
    """The opposite of `split_card`."""
    head = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True).strip()
    return f"---\n{head}\n---\n\n{text.strip()}\n" if metadata else f"{text.strip()}\n"


def carried(metadata: dict[str, Any]) -> dict[str, Any]:
    """Of a base model's metadata, what holds for a model made from it and has the form that the Hub accepts."""
    values = {k: v for k, v in metadata.items() if k in _CARRIED}
    if "language" in values:  # YAML reads Norwegian's `no` as false
        languages = values["language"] if isinstance(values["language"], list) else [values["language"]]
        values["language"] = ["no" if language is False else language for language in languages]
    return {k: v for k, v in values.items() if not problems({k: v})}


def problems(metadata: dict[str, Any]) -> list[str]:
    """What the Hub would refuse in a card's metadata, a sentence each; checked here, without asking it."""
    found = []
    for key in ("license", "license_name", "license_link", "library_name", "pipeline_tag"):
        if key in metadata and not (isinstance(metadata[key], str) and metadata[key]):
            found.append(f"{key} is not a text")
    for key in ("tags", "datasets", "language", "base_model"):
        values = metadata.get(key, [])
        values = values if isinstance(values, list) else [values]
        if not all(isinstance(v, str) and v for v in values):
            found.append(f"{key} is neither a text nor a list of texts")
        elif key in ("datasets", "base_model") and not all(_HUB_ID.fullmatch(v) for v in values):
            found.append(f"{key} has an entry that is not a Hub id")
    index = metadata.get("model-index") or []
    if not (isinstance(index, list) and all(map(_complete, index))):
        found.append("model-index has a result without name, task, dataset or metrics")
    return found


def _complete(entry: Any) -> bool:
    """Whether the results of an entry of model-index say what they are of."""
    try:
        return all(
            entry["name"] and r["task"]["type"] and r["dataset"]["name"] and r["dataset"]["type"] and r["metrics"]
            and all("value" in metric for metric in r["metrics"])
            for r in entry["results"]
        )  # fmt: skip
    except (TypeError, KeyError):
        return False


def put_section(text: str, marks: tuple[str, str], section: str) -> str:
    """`text` with `section` between the marks, in place of what stands there; at its end if they are not there yet."""
    begin, end = marks
    block = f"{begin}\n{section.strip()}\n{end}"
    pattern = re.escape(begin) + ".*?" + re.escape(end)
    if re.search(pattern, text, re.DOTALL):
        return re.sub(pattern, lambda _: block, text, count=1, flags=re.DOTALL)
    return f"{text.rstrip()}\n\n{block}\n"


def merge(theirs: str, ours: str) -> str:
    """A card whose own text is kept, with our part in it: where it stood before, or below with headings one level down.

    Metadata: ours where both have a key, tags of both.
    """
    metadata, text = split_card(theirs)
    our_metadata, our_text = split_card(ours)
    part = our_text.partition(BEGIN)[2].rpartition(END)[0].strip()
    before = text.partition(BEGIN)[0] if BEGIN in text else text
    if before.strip():
        part = re.sub("^#", "##", part, flags=re.MULTILINE)
    tags = [t for t in _listed(metadata.get("tags")) if t not in _listed(our_metadata.get("tags"))]
    merged = metadata | our_metadata | {"tags": [*_listed(our_metadata.get("tags")), *tags]}
    return join_card(merged, put_section(text, (BEGIN, END), part))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
