"""OpenVINO files: a graph (.xml) and its weights (.bin)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import FactcliError, one_line
from ..models import cpus
from .extras import need
from .formats import CPU, Batch, Format, Made, complete, formats
from .silence import silent
from .telemetry import untold

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

# How much of what inputs have of outliers the weights take over (Xiao et al. 2023, SmoothQuant, alpha): layers with
# factors lose least with little, dense ones with much.
SMOOTHING = (0.5, 0.7)
_NAMES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


class OpenVinoSession:
    """A file, compiled for the CPU."""

    def __init__(self, file: Path, threads: int | None = None, exact: bool = False) -> None:
        with untold():
            import openvino

        core = openvino.Core()
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        options |= {"INFERENCE_NUM_THREADS": threads} if threads else {}
        options |= {"INFERENCE_PRECISION_HINT": "f32"} if exact else {}
        model = core.read_model(str(file))
        self.compiled = core.compile_model(model, CPU, options)
        self.inputs = tuple(i.any_name for i in self.compiled.inputs)
        self.outputs = [o.any_name for o in self.compiled.outputs]
        hint = self.compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        quantized = any(node.get_type_name() == "FakeQuantize" for node in model.get_ops())
        self.computes = "int8" if quantized else _NAMES.get(hint, hint)

    def run(self, batch: Batch) -> dict[str, NDArray[Any]]:
        found = self.compiled(complete(self.inputs, batch))
        return {name: found[i].copy() for i, name in enumerate(self.outputs)}


@formats.register
class OpenVino(Format):
    """`openvino_model.xml` and its kin. 8 bits are static: NNCF looks at texts for the ranges of what goes in."""

    name = "openvino"
    title = "OpenVINO"
    precisions = ("float32", "float16", "int8")
    static = frozenset({"int8"})

    @classmethod
    def file(cls, precision: str) -> str:
        ending = {"float32": "", "float16": "_fp16", "int8": "_qint8_quantized"}
        return f"openvino/openvino_model{ending[precision]}.xml"

    @classmethod
    def beside(cls, precision: str) -> int:
        return 6000 if precision == "int8" else 2500

    @classmethod
    def parts(cls, file: Path) -> list[Path]:
        return [file, file.with_suffix(".bin")]

    @classmethod
    def write(cls, made: Made, precision: str, file: Path) -> None:
        need(cls.name)
        with untold():
            import openvino

        try:
            model = openvino.Core().read_model(str(made.graph))
        except RuntimeError as error:
            raise FactcliError(f"OpenVINO cannot read the graph: {one_line(error)}.") from error
        if precision == "int8":
            model = _quantize(model, made)
        openvino.save_model(model, str(file), compress_to_fp16=precision == "float16")

    @classmethod
    def open(cls, file: Path, threads: int | None = None, exact: bool = False) -> OpenVinoSession:
        need(cls.name)
        try:
            return OpenVinoSession(file, threads, exact)
        except RuntimeError as error:
            raise FactcliError(f"OpenVINO cannot run {file.name} ({one_line(error)}): export it again.") from error


def _quantize(model: Any, made: Made) -> Any:
    """In 8 bits, with the one of SMOOTHING whose answers to the rows are nearest to the model's."""
    found = [_smoothed(model.clone(), made, alpha) for alpha in SMOOTHING]
    errors = [_error(model, one, made.rows) for one in found]
    return found[errors.index(min(errors))]


def _smoothed(model: Any, made: Made, alpha: float) -> Any:
    with silent():
        with untold():
            import nncf
            from nncf.quantization import advanced_parameters as advanced
            from nncf.quantization.range_estimator import RangeEstimatorParametersSet

        names = {node.get_friendly_name() for node in model.get_ops()}
        spared = made.harmed | {f"{name}/WithoutBiases" for name in made.harmed}  # the product of a Gemm
        return nncf.quantize(
            model, nncf.Dataset([dict(row) for row in made.rows]), model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED, subset_size=len(made.rows),
            ignored_scope=nncf.IgnoredScope(names=sorted(spared & names)),
            advanced_parameters=advanced.AdvancedQuantizationParameters(
                # What overflows otherwise has half the range of weights.
                overflow_fix=advanced.OverflowFix.DISABLE if cpus.signed() else advanced.OverflowFix.ENABLE,
                # Ranges of all that was seen: their mean over texts, which NNCF takes, cuts off the tokens that stand
                # out, and with them up to half of what a model with factors says.
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
                smooth_quant_alphas=advanced.AdvancedSmoothQuantParameters(matmul=alpha),
            ),
        )  # fmt: skip


def _error(model: Any, other: Any, rows: Sequence[Batch]) -> float:
    """The squared distance of the answers of two graphs to `rows`; infinite for what is no number."""
    import numpy as np
    import openvino

    core, apart = openvino.Core(), 0.0
    one, two = (core.compile_model(m, CPU, {"PERFORMANCE_HINT": "LATENCY"}) for m in (model, other))
    for row in rows:
        given = complete([i.any_name for i in one.inputs], row)
        for a, b in zip(one(given).values(), two(given).values(), strict=True):
            apart += float(np.nan_to_num(np.square(a.astype(np.float64) - b).sum(), nan=np.inf))
    return apart
