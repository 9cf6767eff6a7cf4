"""The solver of the element-wise Fisher norm (criterion `fisher`) beside the optimizer of its paper, on real weights.

    python benchmarks/fisher_solvers.py MODEL --calibration DATA [--data-dir GLUE] [--include REGEX] [--keep K ...]

For each target and keep ratio: the error relative to leaving nothing, in the element-wise norm, of the row-weighted
solution (FWSVD) that both start from, of TFWSVD's Adam and SGD (300 steps), and of the conjugate gradients that factcli
uses; how far these are above (+) or below (-) the former; seconds of both.
"""

import argparse
import time

import torch
from torch import Tensor

from factcli.compress.linalg import balance
from factcli.compress.measured import measure
from factcli.compress.structures.elementwise import conjugate_gradients, error, normalized, start
from factcli.recipe.old_recipe import Recipe
from factcli.source import find_source, load_model
from factcli.targets import find_targets, matrix


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--calibration", required=True)
    parser.add_argument("--data-dir")
    parser.add_argument("--include", default=".")
    parser.add_argument("--keep", type=float, nargs="+", default=[0.1, 0.25, 0.5])
    args = parser.parse_args()
    source = find_source(args.model)
    loaded = load_model(source)
    recipe = Recipe(criterion="fisher", calibration=args.calibration)
    measured = measure(source, loaded, recipe, data_dir=args.data_dir)
    for target in find_targets(loaded.model.base_model, [args.include]):
        w = matrix(loaded.model.base_model.get_submodule(target.name)).detach().double()
        weight = normalized(measured.calibration.statistics[target.name].fisher.double())
        total = float((weight * w.square()).sum())
        for keep in args.keep:
            rank = max(1, int(keep * target.size / sum(target.shape)))
            first = start(w, weight, rank)
            found, seconds = [(float(error(w, weight, *first)) / total) ** 0.5], []
            for solve in (adam_sgd, conjugate_gradients):
                started = time.perf_counter()
                factors = solve(w, weight, *first)
                seconds.append(time.perf_counter() - started)
                found.append((float(error(w, weight, *factors)) / total) ** 0.5)
            print(
                f"{target.name} keep {keep} rank {rank}: fwsvd {found[0]:.4f}, adam-sgd {found[1]:.4f} "
                f"({seconds[0]:.1f} s), cg {found[2]:.4f} ({seconds[1]:.1f} s), {found[2] / found[1] - 1:+.2%}",
                flush=True,
            )


def adam_sgd(
    w: Tensor, weight: Tensor, left: Tensor, right: Tensor, steps: int = 300, rate: float = 0.05
) -> tuple[Tensor, Tensor]:
    """Factors after `steps` of Adam, then SGD, the best that were met; `rate` is Adam's, relative to the factors' size.

    Hua et al. propose Adam for a fast start and then SGD, with an analytically derived switching point. Their text
    could not be read, so the details are ours: full-batch gradients; step sizes relative to the factors; the switch and
    SGD's step as in SWATS (Keskar and Socher 2017, section 3: the step that SGD needs to cover the projection of Adam's
    on the gradient). The switch comes when SGD's own step size, averaged as Adam averages, agrees with its latest
    estimate to 1 %. SGD has momentum 0.9, and halves its step when the error rises.
    """
    scale = float((weight * w.square()).sum().clamp_min(torch.finfo(w.dtype).tiny))
    beta1, beta2 = 0.9, 0.999
    points = [t.clone() for t in balance(left, right)]
    sizes = [float(p.square().mean().sqrt()) or 1.0 for p in points]
    first, second = [torch.zeros_like(p) for p in points], [torch.zeros_like(p) for p in points]
    best, lowest = [p.clone() for p in points], float("inf")
    average, step, before = 0.0, 0.0, float("inf")
    for k in range(1, steps + 1):
        difference = points[0] @ points[1] - w
        weighted = weight * difference
        now = float((weighted * difference).sum()) / scale
        if now < lowest:
            best, lowest = [p.clone() for p in points], now
        gradients = [2 / scale * weighted @ points[1].mT, 2 / scale * points[0].mT @ weighted]
        if step > 0:
            if now > before:
                step, points = step / 2, [p.clone() for p in best]
                first = [torch.zeros_like(p) for p in points]
            else:
                first = [0.9 * v + g for v, g in zip(first, gradients, strict=True)]
                points = [p - step * v for p, v in zip(points, first, strict=True)]
            before = now
            continue
        moves = []
        for i, g in enumerate(gradients):
            first[i].lerp_(g, 1 - beta1)
            second[i].lerp_(g.square(), 1 - beta2)
            mean, spread = first[i] / (1 - beta1**k), (second[i] / (1 - beta2**k)).sqrt()
            moves.append(-rate * sizes[i] * mean / (spread + 1e-12))
        points = [p + d for p, d in zip(points, moves, strict=True)]
        along = -sum(float((d * g).sum()) for d, g in zip(moves, gradients, strict=True))
        if along > 0:
            estimate = sum(float(d.square().sum()) for d in moves) / along
            average = beta2 * average + (1 - beta2) * estimate
            settled = average / (1 - beta2**k)
            if k > 1 and abs(settled - estimate) < 0.01 * settled:
                step, before = (1 - beta1) * settled, float("inf")
                first = [torch.zeros_like(p) for p in points]
    return best[0], best[1]


if __name__ == "__main__":
    main()
