"""`eval` counts the rows there are, whatever the table and the options, or says in one sentence why not."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .shared import NO_COUNT, call, flags, options, some
from .tables import Table, delimited, parquets, records

EVALUATING = options(
    {"limit": "1 2 7 100000", "batch-size": "1 3 64", "max-length": "8 16 64", "label-names": "no,yes yes,no",
     "split": "validation", "device": "cpu auto", "head": "", "update-card": ""},
    {"limit": NO_COUNT, "batch-size": NO_COUNT, "max-length": f"1 2 100000 {NO_COUNT}", "split": "train test",
     "label-names": "no no,yes,maybe a,b no,no", "device": "toaster", "task": "sst2 sst3", "text-to-text": "",
     "data-dir": "nowhere", "revision": "main"},
)  # fmt: skip


@given(
    table=st.one_of(delimited(("no", "yes")), records(("no", "yes")), parquets(("no", "yes"))), chosen=EVALUATING,
)  # fmt: skip
@some(0.2)
def test_eval_counts_what_there_is(table: Table, chosen: dict[str, str], folder: Path, model: Path) -> None:
    """The accuracy of a model that always says yes is the share of yes, counted independently."""
    text, label = table.columns
    code, out, said = call(
        "eval", str(model), "--validation", str(table.write(folder)), "--text-column", text, "--label-column", label,
        "--json", *flags(chosen),
    )  # fmt: skip
    if code:
        assert not table.plain or chosen, said
        return
    result = json.loads(out)
    limit = int(chosen["limit"]) if "limit" in chosen else None
    assert limit is None or limit > 0
    second = "no" if chosen.get("label-names") == "yes,no" else "yes"
    counted = [(len(rows), sum(_agrees(x, second) for _, x in rows) / len(rows)) for rows in table.whole(limit) if rows]
    assert (result["examples"], pytest.approx(result["metrics"]["accuracy"])) in counted, (result, counted)


def _agrees(label: str, name: str) -> bool:
    return label.strip().lower() in (name, {"no": "0", "yes": "1"}[name], {"no": "false", "yes": "true"}[name])
