"""`convert --dry-run`: a plan adds up, whatever the configuration, the budget and the options."""

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from .configurations import configurations
from .plans import check_plan
from .shared import NO_COUNT, call, flags, options, some

PLANNING = options(
    {"method": "low-rank block-low-rank monarch", "blocks": "1 2 4", "rank-multiple": "1 2 4", "criterion": "frobenius",
     "allocation": "uniform", "exclude": "query layer.0 q_proj", "dtype": "float32 bfloat16", "seed": "0 7",
     "device": "cpu", "force-rank": ""},
    {"method": "monarh ", "blocks": f"3 64 {NO_COUNT}", "rank-multiple": f"64 {NO_COUNT}",
     "criterion": "kfac sparsity x",
     "allocation": "global x", "include": "( nothing . query|key|q", "exclude": "[ .", "dtype": "int8", "seed": "-1 x",
     "device": "toaster", "solver": "cg x", "sparsity": "l1 x", "compensation": "none sequential x",
     "calibration-samples": f"8 {NO_COUNT}", "max-length": f"8 {NO_COUNT}", "fisher": "empirical x",
     "revision": "main"},
)  # fmt: skip
SHARES = st.floats(0.2, 0.95).map(lambda x: {"keep": f"{x:.3f}"})
BUDGETS = st.one_of(
    SHARES,
    SHARES,
    st.sampled_from(["1", "2", "5"]).map(lambda x: {"rank": x}),
    st.sampled_from(["12k", "30_000", "1e4", "80k"]).map(lambda x: {"params": x}),
    st.one_of(
        st.sampled_from(["0", "1", "-0.5", "nan", "inf", "1e-9", "half", "0.99999"]).map(lambda x: {"keep": x}),
        st.sampled_from(["500", "0", "-1", "x"]).map(lambda x: {"rank": x}),
        st.sampled_from(["1k", "44M", "0", "x", "-5", "nan", "1e999"]).map(lambda x: {"params": x}),
        st.sampled_from([{"keep": "0.5", "rank": "2"}, {}]),
    ),
)


@given(config=configurations(), budget=BUDGETS, chosen=PLANNING)
@some(0.18)
def test_a_plan_adds_up(config: dict[str, Any], budget: dict[str, str], chosen: dict[str, str], folder: Path) -> None:
    """Parameters are those of the model that transformers makes of the configuration; the budget is kept."""
    place = folder / "config"
    place.mkdir(exist_ok=True)
    (place / "config.json").write_text(json.dumps(config))
    code, out, _ = call("convert", str(place), "--dry-run", "--json", *flags(budget), *flags(chosen))
    if code == 0:
        check_plan(json.loads(out), place, config, budget)
