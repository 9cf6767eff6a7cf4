"""ONNX and OpenVINO files beside a model's weights, made with the exporters of torch and OpenVINO alone."""

import inspect
from pathlib import Path

import torch
import transformers

OUTPUTS = {
    "AutoModel": ("last_hidden_state",),
    "AutoModelForSequenceClassification": ("logits",),
    "AutoModelForQuestionAnswering": ("start_logits", "end_logits"),
}
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class _Positional(torch.nn.Module):
    """A model whose inputs and outputs are in the order of the file's."""

    def __init__(self, model: torch.nn.Module, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.inputs, self.outputs = model, inputs, outputs

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        answer = self.model(**dict(zip(self.inputs, tensors, strict=True)))
        return tuple(answer[name] for name in self.outputs)


def export_by_hand(folder: Path, auto: str) -> None:
    """Adds what `factcli export --format onnx --format openvino --precision int8` adds."""
    import nncf
    import openvino
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = getattr(transformers, auto).from_pretrained(folder, trust_remote_code=True).eval().float()
    takes = inspect.signature(model.forward).parameters
    inputs = tuple(name for name in _INPUTS if name in takes)
    ids = torch.full((2, 7), 5)
    program = torch.onnx.export(
        _Positional(model, inputs, OUTPUTS[auto]).eval(),
        (ids, torch.ones_like(ids), torch.zeros_like(ids))[: len(inputs)],
        dynamo=True, verbose=False, input_names=list(inputs), output_names=list(OUTPUTS[auto]),
        dynamic_shapes=(({0: "batch", 1: "sequence"},) * len(inputs),),
    )  # fmt: skip
    onnx, xml = folder / "onnx" / "model.onnx", folder / "openvino" / "openvino_model.xml"
    onnx.parent.mkdir()
    program.save(onnx)
    # 7 bits of weights: on processors without VNNI, 8 overflow where pairs of products are added
    quantize_dynamic(
        onnx, onnx.with_name("model_qint8_avx512_vnni.onnx"), weight_type=QuantType.QInt8, per_channel=True,
        reduce_range=True,
    )  # fmt: skip
    graph = openvino.Core().read_model(onnx)
    openvino.save_model(graph, xml, compress_to_fp16=False)
    openvino.save_model(nncf.compress_weights(graph), xml.with_name("openvino_model_qint8_quantized.xml"))
