"""ONNX files, written for and run by ONNX Runtime."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from ..errors import FactcliError, one_line
from ..models import cpus
from .extras import need
from .formats import Batch, Format, Made, complete, formats
from .silence import silent
from .telemetry import onnxruntime_untold, untold

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

DATA = ".data"  # the ending of a file of weights beside a graph above 2 GB
_EMBEDDINGS, _PRODUCTS = ["Gather"], ["MatMul", "Gemm"]
_NAMED = {"int8": "int8", "fp16": "float16"}


class OnnxSession:
    """A file in ONNX Runtime's CPU provider."""

    def __init__(self, file: Path, threads: int | None = None) -> None:
        onnxruntime = onnxruntime_untold()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads or 0
        self.session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.inputs = tuple(i.name for i in self.session.get_inputs())
        self.outputs = [o.name for o in self.session.get_outputs()]
        self.computes = next((p for part, p in _NAMED.items() if part in file.name), "float32")

    def run(self, batch: Batch) -> dict[str, NDArray[Any]]:
        found = self.session.run(None, complete(self.inputs, batch))
        return dict(zip(self.outputs, found, strict=True))


@formats.register
class Onnx(Format):
    """`model.onnx` and its kin. 8 bits are dynamic: a scale for every column of a matrix, and one for what goes in,
    found as it runs. Weights are signed where the CPU adds their products without overflow, else unsigned."""

    name = "onnx"
    title = "ONNX Runtime"
    precisions = ("float32", "float16", "int8")

    @classmethod
    def file(cls, precision: str) -> str:
        if precision == "int8":
            return f"onnx/model_{'q' if cpus.signed() else 'qu'}int8_{cpus.kind()}.onnx"
        return {"float32": "onnx/model.onnx", "float16": "onnx/model_fp16.onnx"}[precision]

    @classmethod
    def beside(cls, precision: str) -> int:
        return 3000 if precision == "int8" else 400

    @classmethod
    def parts(cls, file: Path) -> list[Path]:
        data = file.with_name(file.name + DATA)
        return [file, *([data] if data.is_file() else [])]

    @classmethod
    def write(cls, made: Made, precision: str, file: Path) -> None:
        need(cls.name)
        if precision == "float32":
            for part in cls.parts(made.graph):  # the graph has the file's name: it says where its weights are
                shutil.copyfile(part, file.with_name(part.name))
            return
        with silent():
            if precision == "float16":
                _halve(made, file)
            else:
                _quantize(made, file)
        for part in cls.parts(file):  # onnx writes weights that only their owner may read
            shutil.copymode(file, part)

    @classmethod
    def open(cls, file: Path, threads: int | None = None, exact: bool = False) -> OnnxSession:
        need(cls.name)
        try:
            return OnnxSession(file, threads)
        except Exception as error:  # its errors have no class in common
            raise FactcliError(
                f"ONNX Runtime cannot run {file.name} ({one_line(error)}): export it again, with another --opset if it "
                "is the version that it does not read."
            ) from error


def _halve(made: Made, file: Path) -> None:
    import onnx

    with untold():
        from onnxruntime.transformers.float16 import convert_float_to_float16

    model = convert_float_to_float16(onnx.load(made.graph), keep_io_types=True, disable_shape_infer=True)
    weights = sum(len(i.raw_data) for i in model.graph.initializer)  # a model above 2 GB cannot say its size
    onnx.save(model, file, save_as_external_data=weights > onnx.checker.MAXIMUM_PROTOBUF, location=file.name + DATA)


def _quantize(made: Made, file: Path) -> None:
    with untold():
        from onnxruntime.quantization import QuantType, quantize_dynamic

    spared = sorted(
        made.harmed | {f"{name}_MatMul" for name in made.harmed}
    )  # what becomes of a Gemm before it is asked
    large = made.graph.with_name(made.graph.name + DATA).is_file()
    quantize_dynamic(
        made.graph, file, per_channel=True, weight_type=QuantType.QInt8 if cpus.signed() else QuantType.QUInt8,
        op_types_to_quantize=[*_EMBEDDINGS, *_PRODUCTS], nodes_to_exclude=spared,
        use_external_data_format=large,
    )  # fmt: skip
