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
    from pathlib import Path

    from numpy.typing import NDArray

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
    with silent():
        with untold():
            import nncf
            from nncf.quantization import advanced_parameters as advanced

        # What overflows otherwise has half the range of weights.
        fix = advanced.OverflowFix.DISABLE if cpus.signed() else advanced.OverflowFix.ENABLE
        # No SmoothQuant, which moves outliers of inputs into weights: of factors of a low rank it leaves nothing, and
        # what is left to outliers in floating point (see harm) needs none of it.
        unsmoothed = advanced.AdvancedSmoothQuantParameters(matmul=-1, convolution=-1)
        names = {node.get_friendly_name() for node in model.get_ops()}
        spared = made.harmed | {f"{name}/WithoutBiases" for name in made.harmed}  # the product of a Gemm
        return nncf.quantize(
            model, nncf.Dataset([dict(row) for row in made.rows]), model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED, subset_size=len(made.rows),
            ignored_scope=nncf.IgnoredScope(names=sorted(spared & names)),
            advanced_parameters=advanced.AdvancedQuantizationParameters(
                overflow_fix=fix, smooth_quant_alphas=unsmoothed
            ),
        )  # fmt: skip
