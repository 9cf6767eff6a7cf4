"""`convert --dry-run` with data: a calibration counts the examples there are."""

import json
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from .plans import check_plan
from .shared import NO_COUNT, call, flags, options, some
from .tables import Table, delimited, records

CALIBRATING = options(
    {"criterion": "activation kfac fisher fisher-rows", "allocation": "uniform global",
     "calibration-samples": "1 2 7 64",
     "max-length": "8 16 64", "seed": "0 7", "fisher": "sampled empirical", "method": "low-rank monarch",
     "blocks": "2 4",
     "rank-multiple": "1 2", "compensation": "none sequential"},
    {"criterion": "frobenius sparsity", "calibration-samples": NO_COUNT, "max-length": f"1 2 {NO_COUNT}", "blocks": "3",
     "fisher": "x", "solver": "cg adam-sgd", "data-revision": "main", "limit": "3"},
)  # fmt: skip


@given(
    table=st.one_of(delimited(("no", "yes")), records(("no", "yes"))), chosen=CALIBRATING, keep=st.floats(0.3, 0.9),
)  # fmt: skip
@some(0.08)
def test_calibration_counts_what_there_is(
    table: Table, chosen: dict[str, str], keep: float, folder: Path, model: Path
) -> None:
    text, label = table.columns
    budget = {"keep": f"{keep:.2f}"}
    code, out, _ = call(
        "convert", str(model), "--dry-run", "--json", "--calibration", str(table.write(folder)), "--text-column", text,
        "--label-column", label, "--device", "cpu", *flags(budget), *flags(chosen),
    )  # fmt: skip
    if code:
        return
    plan = json.loads(out)
    check_plan(plan, model, json.loads((model / "config.json").read_text()), budget)
    if plan.get("calibration"):
        most = int(chosen.get("calibration-samples", "512"))
        texts = replace(table, rows=[(t, "x") for t, _ in table.rows])
        counts = {min(most, len(rows)) for one in (table, texts) for rows in one.whole()}
        assert plan["calibration"]["examples"] in counts
