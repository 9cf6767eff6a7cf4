"""What must add up in a plan, against a count of the parameters by transformers."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING


def check_plan(plan: dict[str, Any], place: Path, config: dict[str, Any], budget: dict[str, str]) -> None:
    before, after = plan["parameters"]["before"], plan["parameters"]["after"]
    counted = count_parameters(place, config)
    assert counted <= before <= 1.01 * counted  # a bias that two layers share may stand in the file twice
    for layer in plan["layers"]:
        (m, n), rank, blocks = layer["shape"], layer["rank"], layer["blocks"] or 1
        assert layer["parameters"] == (m * n if layer["structure"] == "dense" else blocks * rank * (m + n))
    targets = plan["targets"]
    assert targets["before"] == sum(m * n for m, n in (layer["shape"] for layer in plan["layers"]))
    assert targets["after"] == sum(layer["parameters"] for layer in plan["layers"])
    assert before - after == targets["before"] - targets["after"]
    if "keep" in budget:
        assert targets["after"] <= float(budget["keep"]) * targets["before"]
    if "params" in budget:
        assert after <= {"12k": 12_000, "30_000": 30_000, "1e4": 10_000, "80k": 80_000}.get(budget["params"], 0)
    if "rank" in budget:
        assert {layer["rank"] for layer in plan["layers"]} <= {*range(1, int(budget["rank"]) + 1), None}


def count_parameters(place: Path, config: dict[str, Any]) -> int:
    machine = ("_attn_implementation", "_name_or_path")  # which the class may refuse, and a plan does not look at
    raw = {k: v for k, v in json.loads((place / "config.json").read_text()).items() if k not in machine}
    made = CONFIG_MAPPING[raw["model_type"]].from_dict(raw)
    names = config.get("architectures") or [None]
    cls = getattr(transformers, str(names[0]), None) or transformers.AutoModel._model_mapping[type(made)]
    with torch.device("meta"):
        return sum(p.numel() for p in cls(made).parameters())
