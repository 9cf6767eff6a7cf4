"""How fast the forward and backward passes of every structure are, as ratios to dense layers within one run.

    python benchmarks/forward_speed.py [--threads 2] [--rounds 9] [--dtype float32] [--device cpu]
        [--results recipes/results]

Four tables: single matrices of BERT-base at the seed paper's ranks, as a share of what their FLOPs promise; the whole
encoder with random weights at the paper's sizes, beside table 7 of the paper (Gupta et al. 2024; one H100, ratios to
dense); a training step at equal parameters; and first products that share their input (query, key, value) run apart and
together. Variants take turns in every round, medians over the rounds are compared. Writes RESULTS/forward-DEVICE.json
and .md, prints the tables and the bars, and exits with 1 where one is missed.
"""

import argparse
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
from factcli.plan import Budget, make_plan
from factcli.remote_code.configuration_factorized import FORMAT_VERSION, FactorizedBertConfig
from factcli.remote_code.modeling_factorized import FactorizedBertModel, build_layer
from factcli.source import count_parameters
from factcli.structures import structures
from factcli.targets import find_targets

SHAPES = ((768, 768), (3072, 768), (768, 3072))  # (out, in): attention, up, down
RANKS = (24, 120, 192, 360)  # per matrix: the blocks share it
TOKENS = (128, 1024, 4096)
BLOCKS = 4
SIZES = (28.5e6, 84.3e6)
BATCHES = (1, 8)
PAPER = {  # table 7: dense 8.87 ms
    (28.5e6, "low-rank"): 2.86, (28.5e6, "block-low-rank"): 1.88, (28.5e6, "monarch"): 1.74,
    (84.3e6, "low-rank"): 1.22, (84.3e6, "block-low-rank"): 0.62, (84.3e6, "monarch"): 0.60,
}  # fmt: skip
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
    blocks = BLOCKS if structures[method].uses_blocks else None
    own = rank // (blocks or 1)
    return build_layer({"structure": method, "shape": shape, "rank": own, "blocks": blocks, "bias": True})


@torch.inference_mode()
def matrices(clock: Clock, place: dict[str, Any]) -> tuple[list[dict[str, Any]], list[Bar]]:
    rows: list[dict[str, Any]] = []
    for m, n in SHAPES:
        for rank in RANKS:
            layers = [nn.Linear(n, m), *(layer(s, (m, n), rank) for s in structures)]
            layers = [x.to(**place) for x in layers]
            for tokens in TOKENS:
                x = torch.randn(tokens, n, **place)
                dense, *others = clock([lambda f=f, x=x: f(x) for f in layers])  # type: ignore[misc]
                ideal = m * n / (rank * (m + n))
                rows.append(
                    {"shape": [m, n], "rank": rank, "tokens": tokens, "dense_ms": dense, "ideal": ideal}
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


def encoder(method: str | None, size: float = 0) -> nn.Module:
    """BERT-base with random weights, dense or factorized to `size` parameters."""
    config = BertConfig()
    if method is None:
        return BertModel(config)
    with torch.device("meta"):
        meta = BertModel(config)
    plan = make_plan(
        find_targets(meta), count_parameters(meta), structures[method], BLOCKS, Budget(params=int(size)), "uniform"
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


@torch.inference_mode()
def shared(clock: Clock, place: dict[str, Any]) -> list[dict[str, Any]]:
    """The first products of query, key and value, apart and as one."""
    rows = []
    for method in ("low-rank", "monarch"):
        for rank in RANKS:
            for tokens in TOKENS:
                x = torch.randn(tokens, 768, **place)
                if method == "low-rank":
                    apart = [torch.randn(rank, 768, **place) for _ in range(3)]
                    together = torch.cat(apart)

                    def run(w: torch.Tensor, x: torch.Tensor = x) -> torch.Tensor:
                        return x @ w.T
                else:
                    apart = [torch.randn(BLOCKS, rank, 768 // BLOCKS, **place) for _ in range(3)]
                    together = torch.cat(apart, 1)

                    def run(w: torch.Tensor, x: torch.Tensor = x) -> torch.Tensor:
                        return torch.bmm(w, x.view(-1, BLOCKS, 768 // BLOCKS).permute(1, 2, 0))

                # The layers' whole time is what a gain has to be measured against.
                layers = [layer(method, (768, 768), rank).to(**place) for _ in range(3)]
                one, three, all_of = clock(
                    [
                        lambda run=run, w=together: run(w),  # type: ignore[misc]
                        lambda run=run, ws=apart: [run(w) for w in ws],  # type: ignore[misc]
                        lambda ls=layers, x=x: [f(x) for f in ls],  # type: ignore[misc]
                    ]
                )
                rows.append({"method": method, "rank": rank, "tokens": tokens, "gain": (three - one) / all_of})
    return rows


def markdown(result: dict[str, Any]) -> str:
    names = list(structures)
    lines = [
        f"# Forward and backward on {result['machine']}",
        "",
        "Made by `benchmarks/forward_speed.py`; ratios within one run, above 1 is faster than dense.",
        "",
        "## Matrices: speed-up over dense, and as a share of what the FLOPs promise",
        "",
        f"| shape | rank | tokens | FLOPs | {' | '.join(names)} |",
        "|---" * (4 + len(names)) + "|",
    ]
    for r in result["matrices"]:
        cells = [f"{r[s]:.2f} ({r[s] / r['ideal']:.2f})" for s in names]
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
    lines += ["", "## First products of query, key and value as one: share of the three layers' time that it saves", ""]
    lines += [f"| method | rank | {' | '.join(f'{t} tokens' for t in TOKENS)} |", "|---" * 5 + "|"]
    for method in ("low-rank", "monarch"):
        for rank in RANKS:
            group = [r for r in result["shared"] if (r["method"], r["rank"]) == (method, rank)]
            gains = [f"{r['gain']:+.0%}" for r in group]
            lines.append(f"| {method} | {rank} | {' | '.join(gains)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=60, help="for the whole model, at each size")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--results", type=Path, default=Path(__file__).parents[1] / "recipes" / "results")
    args = parser.parse_args()
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
        "matrices": single,
        "whole": models,
        "steps": trained,
        "shared": shared(clock, place),
        "seconds": round(time.perf_counter() - started),
    }
    args.results.mkdir(parents=True, exist_ok=True)
    file = args.results / f"forward-{device.type}-{args.dtype}.json"
    runs.write(file, json.dumps(result, indent=1) + "\n")
    text = markdown(result)
    runs.write(file.with_suffix(".md"), text)
    print(text)
    for said, met in [*bars, *more, *last]:
        print("met   " if met else "MISSED", said)
    sys.exit(not all(met for _, met in [*bars, *more, *last]))


if __name__ == "__main__":
    main()
