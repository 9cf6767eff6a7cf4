"""How fast factorized layers and models are on a GPU, beside dense ones and beside what the GPU can give.

    python benchmarks/gpu_forward.py [--device cuda] [--seconds 200] [--smoke] [--results recipes/results]

1. The device: what a large product in each precision, and a large copy, really reach.
2. Matrices of BERT-base, dense and factorized, in bfloat16, as CUDA graphs: microseconds, and the share of the
   roofline, which is the larger of two times: that of the arithmetic at the rate of such a product, and that of the
   traffic (input, output and factors, each once) at the rate of the copy. A graph holds so many copies of the layer,
   each with an input of its own, that none finds its tensors in the cache. Block layers with their kernel, and as
   plain products.
3. Whole models with random weights, BERT-base and MiniLM, dense and at 28.5, 44.4, 56.4 and 84.3 M (of BERT-base; of
   MiniLM the same shares of the targets): batches of 1, 8 and 32 with 128 tokens, float32, tf32, bfloat16 and float16,
   eager, as CUDA graphs and compiled, as ratios to dense in the same variant; table 7 of the seed paper beside it.

Everything of a cell is timed in turns, medians are compared. Writes RESULTS/gpu-forward.json and .md anew after each
part, so that what was measured is kept when the time is up.
"""

import argparse
import copy
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import forward_speed
import runs
import torch
from torch import nn
from transformers import BertConfig, BertModel

from factcli.files.atomic import write_text
from factcli.measuring.counting import count_flops
from factcli.measuring.timing import Run, make_run, time_ms
from factcli.remote_code.kernels_factorized import SWITCH

SHAPES = ((768, 768), (3072, 768), (768, 3072))  # (out, in): attention, up, down
RANKS = (24, 96, 100, 192)  # of a matrix; blocks have a quarter. 100: what products of 16-bit numbers are slow with
SIZES = (28.5, 44.4, 56.4, 84.3)  # million parameters of BERT-base
TOKENS = (128, 1024, 4096)
BATCHES = (1, 8, 32)
PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
METHODS = ("low-rank", "block-low-rank", "monarch")
COLUMNS = ("dense", *METHODS, "block-low-rank, plain", "monarch, plain")  # plain: without the kernel of Triton
PAPER = {  # table 7 (Gupta et al. 2024, one H100, dense 8.87 ms): ratios to dense
    28.5: {"low-rank": 2.86, "block-low-rank": 1.88, "monarch": 1.74},
    84.3: {"low-rank": 1.22, "block-low-rank": 0.62, "monarch": 0.60},
}
MINILM = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
LEAST_BYTES = 256e6  # of a graph of layers: five times the cache of an H100
Result = dict[str, Any]
Name = tuple[str | None, float, int]  # method, million parameters, what ranks are multiples of


def median_ms(run: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """The median time of `run`, once warm."""
    times = [time_ms(lambda _: run(), {}, device) for _ in range(repeats + 2)]
    return statistics.median(times[2:])


def ceilings(device: torch.device, smoke: bool) -> dict[str, float]:
    """What products (FLOP/s) of each precision and copies ("bytes": bytes read and written a second) really reach."""
    n, found = 256 if smoke else 8192, {}
    for name in PRECISIONS:
        with precision(name) as dtype:
            a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
            out = torch.empty_like(a)
            took = median_ms(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), device, 5)  # type: ignore[misc]
            found[name] = 2 * n**3 / (took / 1000)
    one = torch.randn(10**6 if smoke else 5 * 10**8, device=device)
    two = torch.empty_like(one)
    found["bytes"] = 2 * 4 * one.numel() / (median_ms(lambda: two.copy_(one), device, 5) / 1000)
    return found


@contextmanager
def precision(name: str) -> Iterator[torch.dtype]:
    """The dtype of tensors, and whether products of float32 may use tf32."""
    torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
    try:
        yield torch.float32 if name == "tf32" else getattr(torch, name)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


@contextmanager
def kernels(wanted: bool) -> Iterator[None]:
    """Whether block layers may run their own kernel."""
    with patch.dict(os.environ, {SWITCH: str(int(wanted))}):
        yield


def captured(run: Callable[[], Any], device: torch.device) -> Callable[[], Any]:
    """`run` as a CUDA graph; as it is on a CPU."""
    if device.type != "cuda":
        return run
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(2):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


@torch.inference_mode()
def matrices(device: torch.device, rates: dict[str, float], smoke: bool) -> list[Result]:
    """Time and share of the roofline of single layers in bfloat16."""
    rows: list[Result] = []
    for m, n in SHAPES:
        for rank in RANKS[: 1 if smoke else None]:
            for tokens in TOKENS[: 1 if smoke else None]:
                row: Result = {"shape": [m, n], "rank": rank, "tokens": tokens}
                for method in COLUMNS:
                    name, _, plain = method.partition(", ")
                    with kernels(not plain):
                        row[method] = one(name, (m, n), rank, tokens, device, rates, smoke)
                rows.append(row)
    return rows


def one(
    method: str, shape: tuple[int, int], rank: int, tokens: int, device: torch.device, rates: Result, smoke: bool
) -> Result:
    """A layer: its milliseconds, and what the roofline gives."""
    (m, n), dtype = shape, torch.bfloat16

    made = nn.Linear(n, m) if method == "dense" else forward_speed.layer(method, shape, rank)
    first = made.to(device, dtype).eval()
    size = 2 * sum(p.numel() for p in first.parameters()) + 2 * tokens * (m + n)
    weights = sum(p.numel() for p in first.parameters()) - m
    count = 2 if smoke else max(4, min(64, int(LEAST_BYTES / size)))
    layers = [first, *(copy.deepcopy(first) for _ in range(count - 1))]
    inputs = [torch.randn(tokens, n, device=device, dtype=dtype) for _ in layers]

    def run() -> None:
        for layer, x in zip(layers, inputs, strict=True):
            layer(x)

    took = median_ms(captured(run, device), device, 3 if smoke else 15) / count
    bound = 1000 * max(2 * tokens * weights / rates["bfloat16"], size / rates["bytes"])
    return {"ms": took, "bound_ms": bound, "share": bound / took}


def model(shape: str, method: str | None, size: float, multiple: int) -> nn.Module:
    """An encoder with random weights: BERT-base of `size` million parameters, or MiniLM with that share of its
    targets."""
    if shape == "BERT-base":
        return forward_speed.encoder(method, 1e6 * size, multiple=multiple)
    config = BertConfig(**MINILM)
    if method is None:
        return BertModel(config)
    base, targets = 109_482_240, 84_934_656  # of BERT-base
    keep = (1e6 * size - base + targets) / targets
    return forward_speed.encoder(method, keep=keep, config=config, multiple=multiple)


@torch.inference_mode()
def whole(
    device: torch.device, until: float, smoke: bool, variants: tuple[str, ...], keep: Callable[[list[Result]], None]
) -> None:
    """Cells of whole models, in the order of what matters most; `keep` is given all of them after each shape."""
    rows: list[Result] = []
    shapes = ("MiniLM",) if smoke else ("BERT-base", "MiniLM")
    plan = [(shape, variant, name) for name in PRECISIONS for variant in variants for shape in shapes]
    rare = ("compile", "cuda-graphs, plain")
    plan = [c for c in plan if c[1] not in rare or (c[0], c[2]) == ("BERT-base", "bfloat16")]
    plan.sort(
        key=lambda c: (c[1] == "compile", c[2] != "bfloat16", c[0] != "BERT-base", c[1] == "eager", c[2] == "tf32")
    )
    for shape, variant, name in plan:
        chosen = SIZES[:1] if smoke else tuple(PAPER) if variant in rare else SIZES
        names: list[Name] = [(None, 0.0, 1), *((method, s, 1) for s in chosen for method in METHODS)]
        if not smoke and variant == "cuda-graphs":
            names += [(method, s, 8) for s in (44.4, 84.3) for method in METHODS]
        for batch in (1,) if smoke else BATCHES:
            if time.perf_counter() > until or (variant == "compile" and batch == 8):
                continue
            with precision(name) as dtype, kernels(not variant.endswith("plain")):
                rows += cell(shape, variant, name, batch, names, dtype, device, smoke, until)
        keep(rows)


MODELS: dict[tuple[str, Name], nn.Module] = {}


def cell(
    shape: str, variant: str, name: str, batch: int, names: list[Name], dtype: torch.dtype,
    device: torch.device, smoke: bool, until: float,
) -> list[Result]:  # fmt: skip
    """All models on one shape of input, in turns."""
    ids = torch.randint(1000, 30_000, (batch, 16 if smoke else 128), device=device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    found: list[tuple[Name, int, Run]] = []
    if variant == "compile":
        torch.compiler.reset()
    for which in names:
        if time.perf_counter() > until:
            break
        if (shape, which) not in MODELS:
            MODELS[shape, which] = model(shape, *which).eval().to(device)
        made = MODELS[shape, which].to(dtype)
        found.append((which, count_flops(made, inputs), make_run(made, variant.partition(",")[0], inputs)))  # type: ignore[arg-type]
    times: list[list[float]] = [[] for _ in found]
    for turn in range(3 if smoke else 12):
        for k, (*_, run) in enumerate(found):
            took = time_ms(run, inputs, device)
            if turn > 1 or smoke:
                times[k].append(took)
    medians = [statistics.median(t) for t in times]
    return [
        {"shape": shape, "variant": variant, "precision": name, "batch": batch,
         "method": which[0], "size": which[1], "multiple": which[2],
         "flops": flops, "ms": took, "speedup": medians[0] / took, "flops_ratio": found[0][1] / flops}
        for (which, flops, _), took in zip(found, medians, strict=True)
    ]  # fmt: skip


def markdown(result: Result) -> str:
    """The tables."""
    rates = result["ceilings"]
    lines = [
        f"# Forward passes on {result['device']}",
        "",
        f"Made by `{result['command']}` (torch {result['versions']['torch']}, {result['date'][:10]}), in one run.",
        "tf32: float32 whose products have 10 bits. cuda-graphs: the eager pass, captured once and replayed.",
        *(["", result["note"]] if "note" in result else []),
        "",
        "Measured ceilings: "
        + ", ".join(f"{name} {rates[name] / 1e12:.0f} TFLOP/s" for name in PRECISIONS)
        + f", copies {rates['bytes'] / 1e12:.2f} TB/s.",
        "",
        "## Single layers, bfloat16, CUDA graphs: microseconds (share of the roofline)",
        "",
        "| shape | rank | tokens | " + " | ".join(COLUMNS) + " |",
        "|---" * (3 + len(COLUMNS)) + "|",
    ]
    for r in result.get("matrices", []):
        cells = " | ".join(f"{1000 * r[s]['ms']:.1f} ({r[s]['share']:.2f})" for s in COLUMNS)
        lines.append(f"| {r['shape'][1]} → {r['shape'][0]} | {r['rank']} | {r['tokens']} | {cells} |")
    rows = result.get("whole", [])
    for shape in dict.fromkeys(r["shape"] for r in rows):
        for variant in dict.fromkeys(r["variant"] for r in rows if r["shape"] == shape):
            lines += table([r for r in rows if (r["shape"], r["variant"]) == (shape, variant)], shape, variant)
    return "\n".join(lines) + "\n"


def table(rows: list[Result], shape: str, variant: str) -> list[str]:
    """One variant of one shape: a row a model, a column a precision and batch."""
    columns = list(dict.fromkeys((r["precision"], r["batch"]) for r in rows))
    lines = [
        "",
        f"## {shape}, 128 tokens, {variant}: times as fast as dense (dense: milliseconds)",
        "",
        "| model | FLOPs | paper | " + " | ".join(f"{name}, {batch}" for name, batch in columns) + " |",
        "|---" * (3 + len(columns)) + "|",
    ]
    for which in dict.fromkeys((r["method"], r["size"], r["multiple"]) for r in rows):
        method, size, multiple = which
        ours = [r for r in rows if (r["method"], r["size"], r["multiple"]) == which]
        group = {(r["precision"], r["batch"]): r for r in ours}
        cells = []
        for column in columns:
            r = group.get(column)
            cells.append("" if r is None else f"{r['ms']:.2f} ms" if method is None else f"{r['speedup']:.2f}")
        paper = PAPER.get(size, {}).get(method or "", 0) if shape == "BERT-base" else 0
        name = "dense" if method is None else f"{method}, {size} M" + ("" if shape == "BERT-base" else " of BERT-base")
        name += f", ranks in {multiple}s" if multiple > 1 else ""
        ratio = next(iter(group.values()))["flops_ratio"]
        lines.append(f"| {name} | {ratio:.2f} | {paper or ''} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=200, help="after which no new cell is begun")
    parser.add_argument("--smoke", action="store_true", help="the smallest cells only: does it run?")
    parser.add_argument("--results", type=Path, default=Path(__file__).parents[1] / "recipes" / "results")
    args = parser.parse_args()
    torch.manual_seed(0)
    device, until = torch.device(args.device), time.perf_counter() + args.seconds
    on_gpu = device.type == "cuda"
    args.results.mkdir(parents=True, exist_ok=True)
    file = args.results / "gpu-forward.json"
    result: Result = runs.record(None) | {
        "device": torch.cuda.get_device_name(device) if on_gpu else "a CPU",
        "command": "benchmarks/gpu.sh" if on_gpu else "benchmarks/gpu.sh --device cpu --smoke",
    }

    def save() -> None:
        write_text(file, json.dumps(result, indent=1) + "\n")
        write_text(file.with_suffix(".md"), markdown(result))

    result["ceilings"] = ceilings(device, args.smoke)
    result["matrices"] = matrices(device, result["ceilings"], args.smoke)
    save()

    def keep(rows: list[Result]) -> None:
        result["whole"] = rows
        save()

    variants = ("cuda-graphs", "cuda-graphs, plain", "eager", "compile") if on_gpu else ("eager",)
    whole(device, until, args.smoke, variants, keep)
    print(markdown(result))


if __name__ == "__main__":
    main()
