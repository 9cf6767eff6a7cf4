"""Measured results in a card: for people as a table, for the Hub as model-index."""

from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult
from huggingface_hub.repocard_data import eval_results_to_model_index

from ..files.atomic import write_text
from ..recipe.values import TASKS
from .text import RESULTS, SPEED, join_card, put_section, split_card


def update_results(
    card: Path,
    results: list[dict[str, Any]],
    name: str | None = None,
    pipeline_tag: str | None = None,
) -> None:
    """Put evaluation results (entries of eval_results.json, fractions of one) into a card, as a table and as
    model-index metadata, in place of those that an earlier call put there. Results of a part of the data, and of a
    runtime's file, stand in the table alone, and are called so. A card that is not there is made. `name` of the model
    is the directory's by default; without a `pipeline_tag` the card's stays. Call it while `files.updating` the card,
    where others may."""
    there = card.is_file()
    text = (
        card.read_text(encoding="utf-8") if there else f"---\nlibrary_name: transformers\n---\n\n# {card.parent.name}\n"
    )
    metadata, body = split_card(text)
    name = name or _named(metadata.get("model-index")) or card.parent.resolve().name
    entries = [
        EvalResult(
            task_type=r.get("task_type", "text-classification"),
            dataset_type="glue" if _of_glue(r) else r["task"], dataset_name=r["task"],
            dataset_config=r["task"] if _of_glue(r) else None,  # which tells them apart
            dataset_split=r["split"], dataset_revision=_apart(r, results) or None, metric_type=metric,
            metric_value=value,
        )
        for r in results if "limit" not in r and "runs" not in r for metric, value in r["metrics"].items()
    ]  # fmt: skip
    metadata["model-index"] = eval_results_to_model_index(name, entries)
    if pipeline_tag:
        metadata["pipeline_tag"] = pipeline_tag
    write_text(card, join_card(metadata, put_section(body, RESULTS, f"## Results\n\n{_table(results)}")))


def _named(index: Any) -> str | None:
    """What a card's metadata call the model; None where they do not, or are not as the Hub has them."""
    entries = index if isinstance(index, list) else []
    return next((str(e["name"]) for e in entries if isinstance(e, dict) and e.get("name")), None)


def update_speed(card: Path, result: dict[str, Any], model: str) -> None:
    """Put what `bench` measured of `model` (its result, as --json prints it) into a card, in place of what an earlier
    call put there. Baselines are named without directories. Call it while `files.updating` the card."""
    metadata, body = split_card(card.read_text(encoding="utf-8"))
    device = result["device_name"] or f"CPU with {result['cores']} cores, {result['threads']} threads"
    lines = [
        f"{device}, torch {result['torch']}, protocol {result['protocol']}:",
        "",
        "| batch x tokens | variant, dtype | median ms | speed-up | baseline | FLOPs ratio |",
        "|---|---|---|---|---|---|",
    ]
    ratios = {_cell(r): r for r in result["ratios"] if r["model"] == model}
    for r in result["results"]:
        if r["model"] == model and not r["baseline"]:
            ratio = ratios.get(_cell(r))
            beside = " | | "
            if ratio:
                beside = f"{ratio['speedup']:.2f} | {Path(ratio['baseline']).name} | {ratio['flops_ratio']:.2f}"
            size = f"{r['batch_size']} x {r['sequence_length']}"
            median = f"{r['latency_ms']['median']:.2f}"
            lines.append(f"| {size} | {r['variant']}, {r['dtype']} | {median} | {beside} |")
    write_text(card, join_card(metadata, put_section(body, SPEED, "## Speed\n\n" + "\n".join(lines))))


def _cell(entry: dict[str, Any]) -> tuple[int, int, str]:
    return entry["batch_size"], entry["sequence_length"], entry["variant"]


def _table(results: list[dict[str, Any]]) -> str:
    rows = [
        "| {task} | {split} | {examples} | {scores} | {majority} |".format(
            task=" ".join(filter(None, [r["task"], _apart(r, results), f"(`{r['runs']}`)" if "runs" in r else None])),
            split=r["split"],
            examples=f"{r['examples']}, limited" if "limit" in r else r["examples"],
            scores=", ".join(f"{name} {value:.4f}" for name, value in r["metrics"].items()),
            majority="" if r["majority"] is None else f"{r['majority']:.4f}",
        )
        for r in results
    ]  # fmt: skip
    return "\n".join(["| task | split | examples | metrics | majority class |", "|---|---|---|---|---|", *rows])


def _of_glue(r: dict[str, Any]) -> bool:
    return r["task"] in TASKS and "file" not in r


def _apart(r: dict[str, Any], results: list[dict[str, Any]]) -> str:
    """The beginning of the SHA-256 of its data, for one of several data sets of the same name; else nothing."""
    alike = {o.get("data") for o in results if (o["task"], o["split"]) == (r["task"], r["split"])}
    return str(r.get("data", ""))[:8] if len(alike) > 1 else ""
