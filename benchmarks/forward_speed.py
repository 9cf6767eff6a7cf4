"""How fast the forward and backward passes of every structure are, as ratios to dense layers within one run.

    python benchmarks/forward_speed.py [--threads 2] [--rounds 9] [--dtype float32] [--device cpu]
        [--results recipes/results]

Four tables: single matrices of BERT-base at the seed paper's ranks, as a share of what their FLOPs promise; the whole
encoder with random weights at the paper's sizes, beside table 7 of the paper (Gupta et al. 2024; one H100, ratios to
dense); a training step at equal parameters; and first products that share their input (query, key, value) run apart and
together. Variants take turns in every round, medians over the rounds are compared. Writes RESULTS/forward-DEVICE.json
and .md, prints the tables and the bars, and exits with 1 where one is missed.

On Linux the process starts itself anew with MALLOC, which keeps freed memory: otherwise glibc gives every large tensor
back to the system, and what is measured is page faults (--allocator default measures that).
"""

import argparse
import copy
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import runs
import torch
from torch import nn
from transformers import BertConfig, BertModel

import factcli
from factcli import remote_code
from factcli.compress.allocations import allocations
from factcli.compress.plan import make_plan
from factcli.compress.structures import structures
from factcli.files.atomic import write_text
from factcli.models.loading import count_parameters
from factcli.models.targets import find_targets
from factcli.recipe.factorizing import Budget
from factcli.remote_code.configuration_factorized import FORMAT_VERSION, FactorizedBertConfig
from factcli.remote_code.modeling_factorized import FactorizedBertModel, build_layer

SHAPES = ((768, 768), (3072, 768), (768, 3072))  # (out, in): attention, up, down
RANKS = (24, 120, 192, 360)  # per matrix: the blocks share it
TOKENS = (128, 1024, 4096)
SIZES = (28.5e6, 84.3e6)
BATCHES = (1, 8)
PAPER = {  # table 7: dense 8.87 ms
    (28.5e6, "low-rank"): 2.86, (28.5e6, "block-low-rank"): 1.88, (28.5e6, "monarch"): 1.74,
    (84.3e6, "low-rank"): 1.22, (84.3e6, "block-low-rank"): 0.62, (84.3e6, "monarch"): 0.60,
}  # fmt: skip
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**34)}
WHOLE = {28.5e6: (5.0, 4.3), 84.3e6: (1.30, 1.20)}  # bars: low-rank, block forms
Bar = tuple[str, bool]


class Clock:
    """Times functions in turns: each runs once a round."""

    def __init__(self, rounds: int, device: torch.device) -> None:
        self.rounds, self.device = rounds, device

    def __call__(self, functions: list[Callable[[], Any]]) -> list[float]:
        """The median milliseconds of each."""
        times: list[list[float]] = [[] for _ in functions]
        for number in range(self.rounds + 2):
            for at in range(len(functions)):
                k = (number + at) % len(functions)
                took = self._once(functions[k])
                if number > 1:
                    times[k].append(took)
        return [statistics.median(t) for t in times]

    def _once(self, function: Callable[[], Any]) -> float:
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.synchronize(self.device)
        started = time.perf_counter()
        function()
        if cuda:
            torch.cuda.synchronize(self.device)
        return 1000 * (time.perf_counter() - started)


def layer(method: str, shape: tuple[int, int], rank: int) -> nn.Module:
    """One factorized layer with random weights; `rank` is that of the whole matrix."""
    structure = structures[method]()
    remote_code.module(structure.layer_file)  # whose layers are known from then on
    spec = structure.spec(rank // getattr(structure, "blocks", 1))
    return build_layer({"structure": method, "shape": shape, "spec": spec, "bias": True})


def products(x: torch.Tensor, rank: int, m: int) -> Callable[[], Any]:
    """The two products of a low-rank layer and nothing else, into memory that is there: what the library can give."""
    one, two = x.new_ones(rank, x.shape[1]), x.new_ones(m, rank)
    hidden, y = x.new_empty(len(x), rank), x.new_empty(len(x), m)
    return lambda: torch.mm(torch.mm(x, one.T, out=hidden), two.T, out=y)


@torch.inference_mode()
def matrices(clock: Clock, place: dict[str, Any]) -> tuple[list[dict[str, Any]], list[Bar]]:
    rows: list[dict[str, Any]] = []
    for m, n in SHAPES:
        for rank in RANKS:
            layers = [nn.Linear(n, m), *(layer(s, (m, n), rank) for s in structures)]
            layers = [x.to(**place) for x in layers]
            for tokens in TOKENS:
                x = torch.randn(tokens, n, **place)
                dense, bare, *others = clock(
                    [lambda: layers[0](x), products(x, rank, m), *(lambda f=f: f(x) for f in layers[1:])]  # type: ignore[misc]  # noqa: B023
                )
                ideal = m * n / (rank * (m + n))
                rows.append(
                    {"shape": [m, n], "rank": rank, "tokens": tokens, "dense_ms": dense, "ideal": ideal}
                    | {"products": dense / bare}
                    | {s: dense / t for s, t in zip(structures, others, strict=True)}
                )
    found = []
    for method in structures:
        least = 0.85 if method == "low-rank" else 0.70
        short = [r for r in rows if r[method] < least * r["ideal"]]
        found.append((f"matrices, {method}: {len(short)} of {len(rows)} below {least} of ideal, none", not short))
        if method != "low-rank":
            slow = [r for r in rows if r["rank"] == 360 and r[method] < 1 / 1.1]
            found.append((f"matrices, {method}: {len(slow)} slower than 1.1 x dense at rank 360, none", not slow))
    return rows, found


def encoder(
    method: str | None, size: float = 0, keep: float | None = None, config: BertConfig | None = None, multiple: int = 1
) -> nn.Module:
    """BERT-base, or what `config` describes, with random weights, dense or factorized to `size` parameters or to the
    share `keep` of its targets, with ranks that are multiples of `multiple`."""
    config = config or BertConfig()
    if method is None:
        return BertModel(config)
    with torch.device("meta"):
        meta = BertModel(config)
    structure, budget = structures[method](), Budget(params=int(size)) if keep is None else Budget(keep=keep)
    remote_code.module(structure.layer_file)
    plan = make_plan(
        find_targets(meta), count_parameters(meta), structure, budget, allocations["uniform"](), multiple=multiple
    )
    layers = [x.to_json() for x in plan.layers]
    values = config.to_dict() | {"factorization": {"format_version": FORMAT_VERSION, "layers": layers}}
    values.pop("model_type")
    model: nn.Module = FactorizedBertModel(FactorizedBertConfig.from_dict(values))
    return model


def whole(seconds: float, place: dict[str, Any]) -> tuple[list[dict[str, Any]], list[Bar]]:
    rows: list[dict[str, Any]] = []
    found = []
    with tempfile.TemporaryDirectory() as folder:
        dense = Path(folder) / "dense"
        encoder(None).save_pretrained(dense)  # type: ignore[operator]
        for size in SIZES:
            models = {f"{folder}/{method}-{size / 1e6:.1f}M".replace(".", "_"): method for method in structures}
            for name, method in models.items():
                encoder(method, size).save_pretrained(name)  # type: ignore[operator]
            result = factcli.bench(
                list(models), baseline=str(dense), batch_size=BATCHES, sequence_length=128, seconds=seconds,
                device=str(place["device"]), dtype=str(place["dtype"]).removeprefix("torch."),
            )  # fmt: skip
            for ratio in result["ratios"]:
                method = next(v for k, v in models.items() if k == ratio["model"])
                kept = {k: ratio[k] for k in ("batch_size", "speedup", "speedup_p10", "speedup_p90", "flops_ratio")}
                rows.append({"parameters": size, "method": method, "paper": PAPER[size, method]} | kept)
                least = WHOLE[size][method != "low-rank"]
                found.append(
                    (
                        f"BERT-base, {size / 1e6:.1f}M, {method}, batch {kept['batch_size']}: "
                        f"{kept['speedup']:.2f} x, at least {least}",
                        kept["speedup"] >= least,
                    )
                )
    return rows, found


def steps(clock: Clock, place: dict[str, Any]) -> tuple[list[dict[str, Any]], list[Bar]]:
    """Forward and backward of one matrix; the FLOPs of all structures are the same at equal parameters."""
    rows: list[dict[str, Any]] = []
    for m, n in SHAPES:
        for rank in RANKS:
            layers = [layer(s, (m, n), rank).to(**place) for s in structures]
            x = torch.randn(1024, n, **place).requires_grad_()
            gradient = torch.randn(1024, m, **place)

            def step(f: nn.Module, x: torch.Tensor = x, gradient: torch.Tensor = gradient) -> None:
                f.zero_grad()
                x.grad = None
                f(x).backward(gradient)

            low, *others = clock([lambda f=f: step(f) for f in layers])  # type: ignore[misc]
            rows.append(
                {"shape": [m, n], "rank": rank, "low-rank_ms": low}
                | {s: t / low for s, t in zip(list(structures)[1:], others, strict=True)}
            )
    found = []
    for method in list(structures)[1:]:
        slow = [r for r in rows if r[method] > 1.15]
        worst = max(r[method] for r in rows)
        text = f"step, {method}: {len(slow)} of {len(rows)} above 1.15 x low-rank, none (worst {worst:.2f})"
        found.append((text, not slow))
    return rows, found


class Shared:
    """The first products of low-rank layers that are given the same input, as one; used by `shared` to measure that."""

    def __init__(self, layers: list[Any]) -> None:
        self.weight = torch.cat([x.factor_in.weight for x in layers])
        self.sizes = [len(x.factor_in.weight) for x in layers]
        self.input: torch.Tensor | None = None
        self.hidden: tuple[torch.Tensor, ...] = ()
        for at, x in enumerate(layers):
            x.forward = self._forward(at, x.factor_out)

    def _forward(self, at: int, factor_out: nn.Module) -> Callable[[torch.Tensor], Any]:
        def forward(x: torch.Tensor) -> Any:
            if x is not self.input:
                self.input = x
                self.hidden = nn.functional.linear(x, self.weight).split(self.sizes, -1)
            return factor_out(self.hidden[at])

        return forward


@torch.inference_mode()
def shared(clock: Clock, place: dict[str, Any]) -> list[dict[str, Any]]:
    """BERT-base with the first products of query, key and value apart and as one."""
    rows = []
    for size in SIZES:
        apart = encoder("low-rank", size).to(**place).eval()
        together = copy.deepcopy(apart)
        for block in together.encoder.layer:  # type: ignore[operator, union-attr]
            attention = block.attention.self
            Shared([attention.query, attention.key, attention.value])
        for batch in BATCHES:
            ids = torch.randint(0, 30_000, (batch, 128), device=place["device"])
            torch.testing.assert_close(together(ids)[0], apart(ids)[0], rtol=1e-3, atol=1e-3)
            one, three = clock([lambda: together(ids), lambda: apart(ids)])  # noqa: B023
            rows.append({"parameters": size, "batch_size": batch, "gain": three / one - 1})
    return rows


def markdown(result: dict[str, Any]) -> str:
    names = list(structures)
    lines = [
        f"# Forward and backward on {result['machine']}",
        "",
        "Made by `benchmarks/forward_speed.py`; ratios within one run, above 1 is faster than dense. Allocator: "
        f"{result['allocator']}.",
        "",
        "## Matrices: speed-up over dense, and as a share of what the FLOPs promise",
        "",
        "`products` are the two products of a low-rank layer and nothing else, into memory that is there already.",
        "",
        f"| shape | rank | tokens | FLOPs | products | {' | '.join(names)} |",
        "|---" * (5 + len(names)) + "|",
    ]
    for r in result["matrices"]:
        cells = [f"{r[s]:.2f} ({r[s] / r['ideal']:.2f})" for s in ("products", *names)]
        shape = f"{r['shape'][1]} → {r['shape'][0]}"
        lines.append(f"| {shape} | {r['rank']} | {r['tokens']} | {r['ideal']:.2f} | {' | '.join(cells)} |")
    lines += ["", "## BERT-base, 128 tokens: speed-up over dense", ""]
    lines += ["| parameters | method | batch 1 | batch 8 | FLOPs | paper (one H100) |", "|---" * 6 + "|"]
    for size in SIZES:
        for method in names:
            group = [r for r in result["whole"] if (r["parameters"], r["method"]) == (size, method)]
            speeds = " | ".join(f"{r['speedup']:.2f}" for r in group)
            ratio, paper = group[0]["flops_ratio"], group[0]["paper"]
            lines.append(f"| {size / 1e6:.1f} M | {method} | {speeds} | {ratio:.2f} | {paper:.2f} |")
    lines += ["", "## Training step of one matrix, 1024 tokens: time over that of low-rank at equal parameters", ""]
    lines += ["| shape | rank | block-low-rank | monarch |", "|---" * 4 + "|"]
    for r in result["steps"]:
        shape = f"{r['shape'][1]} → {r['shape'][0]}"
        lines.append(f"| {shape} | {r['rank']} | {r['block-low-rank']:.2f} | {r['monarch']:.2f} |")
    lines += ["", "## BERT-base, low-rank, with the first products of query, key and value as one: gain in speed", ""]
    lines += ["| parameters | batch 1 | batch 8 |", "|---" * 3 + "|"]
    for size in SIZES:
        gains = [f"{r['gain']:+.1%}" for r in result["shared"] if r["parameters"] == size]
        lines.append(f"| {size / 1e6:.1f} M | {' | '.join(gains)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=60, help="for the whole model, at each size")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--results", type=Path, default=Path(__file__).parents[1] / "recipes" / "results")
    parser.add_argument("--allocator", choices=("kept", "default"), default="kept")
    args = parser.parse_args()
    if args.allocator == "kept" and sys.platform == "linux" and MALLOC.items() - os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | MALLOC)
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    place = {"device": device, "dtype": getattr(torch, args.dtype)}
    clock = Clock(args.rounds, device)
    started = time.perf_counter()
    single, bars = matrices(clock, place)
    models, more = whole(args.seconds, place)
    trained, last = steps(clock, place)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} CPU cores"
    result = runs.record(None) | {
        "machine": f"{name}, {args.threads} threads, {args.dtype}" if device.type == "cpu" else f"{name}, {args.dtype}",
        "command": " ".join(["python benchmarks/forward_speed.py", *sys.argv[1:]]),
        "allocator": "keeps freed memory" if args.allocator == "kept" else "as the system has it",
        "matrices": single,
        "whole": models,
        "steps": trained,
        "shared": shared(clock, place),
        "seconds": round(time.perf_counter() - started),
    }
    args.results.mkdir(parents=True, exist_ok=True)
    suffix = "" if args.allocator == "kept" else "-default-allocator"
    file = args.results / f"forward-{device.type}-{args.dtype}{suffix}.json"
    write_text(file, json.dumps(result, indent=1) + "\n")
    text = markdown(result)
    write_text(file.with_suffix(".md"), text)
    print(text)
    for said, met in [*bars, *more, *last]:
        print("met   " if met else "MISSED", said)
    sys.exit(not all(met for _, met in [*bars, *more, *last]))


if __name__ == "__main__":
    main()
