"""The solvers of the element-wise Fisher metric (criterion `fisher`), on real weights.

    python benchmarks/fisher_solvers.py MODEL --calibration TASK_OR_FILE [--data-dir GLUE] [--include REGEX] [--keep K]

For each target: the error relative to leaving nothing, in the element-wise metric, of the row-weighted solution (FWSVD)
that both start from, and of every solver, with its seconds.
"""

import argparse
import time

from factcli.compress.measured import measure
from factcli.compress.structures.elementwise import error, normalized, solvers, start
from factcli.models.loading import load_model
from factcli.models.model import find_model
from factcli.models.targets import find_targets, matrix
from factcli.recipe.factorizing import Recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--calibration", required=True)
    parser.add_argument("--data-dir")
    parser.add_argument("--include", default=".")
    parser.add_argument("--keep", type=float, default=0.25)
    args = parser.parse_args()
    source = find_model(args.model)
    loaded = load_model(source)
    recipe = Recipe(criterion="fisher", calibration=args.calibration)
    measured = measure(source, loaded, recipe, data_dir=args.data_dir)
    for target in find_targets(loaded.model.base_model, [args.include]):
        w = matrix(loaded.model.base_model.get_submodule(target.name)).detach().double()
        statistics = measured.calibration.statistics[target.name]
        weight = normalized(statistics.fisher.double())
        rank = max(1, int(args.keep * target.size / sum(target.shape)))
        total = float((weight * w.square()).sum())
        first = start(w, weight, rank)
        line = f"{target.name} rank {rank}: fwsvd {(float(error(w, weight, *first)) / total) ** 0.5:.4f}"
        for name in solvers:
            started = time.perf_counter()
            found = solvers[name].better(w, weight, *first)
            seconds = time.perf_counter() - started
            line += f", {name} {(float(error(w, weight, *found)) / total) ** 0.5:.4f} ({seconds:.1f} s)"
        print(line, flush=True)


if __name__ == "__main__":
    main()
