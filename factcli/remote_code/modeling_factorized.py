"""Factorized transformers: native models whose linear layers are products of smaller matrices.

`FactorizedX` subclasses transformers' class `X` and is made when it is first asked for, so that this file serves every
architecture and head. Its constructor builds `X`, then swaps the layers that `config.factorization` lists. Only torch
and transformers are needed; nothing is downloaded, computed from weights or executed at load.
"""

import math
import sys
from functools import partial
from typing import Any

import torch
import transformers
from torch import nn

from . import configuration_factorized
from .configuration_factorized import FORMAT_VERSION, PREFIX
from .embeddings_factorized import EMBEDDING, FactorizedEmbedding, TiedHead, build_embedding, swap_embedding

TOKENS = 1024
# torch.export's own, where torch is 2.7 or later. torch.compile is not meant.
is_exporting = getattr(torch.compiler, "is_exporting", torch.onnx.is_in_onnx_export)


class FactorizedLinear(nn.Module):
    """What the layers below share.

    Their `weight` has one element and no part in the product. Native code may read its dtype; a native class that is
    given a factorized checkpoint stops at its shape, where it would else go on with random weights.
    """

    weight: torch.Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.register_buffer("weight", torch.zeros(1))


class LowRankLinear(FactorizedLinear):
    """`y = factor_out(factor_in(x))`: a linear layer of rank `rank`, as two plain `nn.Linear` children."""

    def __init__(self, in_features: int, out_features: int, rank: int, bias: bool) -> None:
        super().__init__(in_features, out_features)
        self.factor_in = nn.Linear(in_features, rank, bias=False)
        self.factor_out = nn.Linear(rank, out_features, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.factor_out(self.factor_in(x))
        return y


class BlockLinear(FactorizedLinear):
    """A linear layer whose matrix is `blocks` x `blocks` blocks of rank `rank` each, run as two batched products.

    factor_in is (blocks, blocks * rank, in_features / blocks), the right factors by input block;
    factor_out is (blocks, out_features / blocks, blocks * rank), the left factors by output block.
    Block low-rank: output block j is the j-th run of outputs. Monarch (`interleaved`): output i in block i mod blocks.
    """

    def __init__(
        self, in_features: int, out_features: int, rank: int, bias: bool, blocks: int, interleaved: bool
    ) -> None:
        super().__init__(in_features, out_features)
        self.rank, self.blocks, self.interleaved = rank, blocks, interleaved
        self.factor_in = nn.Parameter(torch.empty(blocks, blocks * rank, in_features // blocks))
        self.factor_out = nn.Parameter(torch.empty(blocks, out_features // blocks, blocks * rank))
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scaled so that outputs have the variance that `nn.Linear` gives."""
        bound = 1 / math.sqrt(self.in_features)
        nn.init.uniform_(self.factor_in, -bound, bound)
        bound = math.sqrt(3 / (self.blocks * self.rank))
        nn.init.uniform_(self.factor_out, -bound, bound)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        on_cpu = x.device.type == "cpu"
        recorded = is_exporting() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        if recorded and (on_cpu or torch.onnx.is_in_onnx_export()):
            return self._forward_as_written(x)
        lead = x.shape[:-1]
        x = x.reshape(-1, self.in_features)
        if not on_cpu or torch.compiler.is_compiling():
            return self._forward_batched(x).reshape(*lead, self.out_features)
        factors = (self.factor_in, self.factor_out, x.new_zeros(self.out_features) if self.bias is None else self.bias)
        if torch.is_autocast_enabled("cpu"):  # which knows nothing of products that write in place
            x, *factors = (t.to(torch.get_autocast_dtype("cpu")) for t in (x, *factors))  # type: ignore[assignment]
        if torch.is_grad_enabled():
            written: torch.Tensor = BlockProduct.apply(x, *factors, self.interleaved)[0]  # type: ignore
            return written.reshape(*lead, self.out_features)
        # So few tokens at a time that what lies between the products stays in the cache.
        y = x.new_empty(len(x), self.out_features)
        for start in range(0, len(x), TOKENS):
            hidden = first_product(x[start : start + TOKENS], self.factor_in)
            write_outputs(hidden, *factors[1:], self.interleaved, y[start : start + TOKENS])
        return y.reshape(*lead, self.out_features)

    def _forward_batched(self, x: torch.Tensor) -> torch.Tensor:
        """The same as two batched products, for GPUs and compilers."""
        kind = x.device.type
        bias: torch.Tensor | None = self.bias
        if torch.is_autocast_enabled(kind):  # which would add a bias of float32 in float32
            x = x.to(torch.get_autocast_dtype(kind))
        if bias is not None:
            bias = bias.to(x.dtype)
        factors = self.factor_in.to(x.dtype), self.factor_out.to(x.dtype)
        if x.is_cuda and not torch.compiler.is_compiling():
            from .kernels_factorized import block_product, usable  # here: Triton, which it imports, is for GPUs

            if usable(x) and (y := block_product(x, *factors, bias, self.interleaved)) is not None:
                return y
        hidden = first_product(x, factors[0])
        y = torch.bmm(hidden.transpose(1, 2), factors[1].transpose(1, 2))  # (output block, N, row in block)
        y = (y.permute(1, 2, 0) if self.interleaved else y.transpose(0, 1)).reshape(-1, self.out_features)
        return y if bias is None else y + bias

    def _forward_as_written(self, x: torch.Tensor) -> torch.Tensor:
        """The same for runtimes that run a graph as it stands: plain products by two-dimensional constants, which they
        have fast kernels and quantizers for, and no copy but those between. The bias comes last, to be fused on."""
        inputs = torch.split(x, self.in_features // self.blocks, -1)
        products = [nn.functional.linear(t, w) for t, w in zip(inputs, self.factor_in.unbind(), strict=True)]
        # One transposition: as slices of slices it would be `blocks` squared steps, which exporters are slow with.
        by_input = torch.unflatten(torch.cat(products, -1), -1, (self.blocks, self.blocks, self.rank))
        hidden = torch.split(by_input.transpose(-3, -2).flatten(-3), self.blocks * self.rank, -1)
        outputs = [nn.functional.linear(t, w) for t, w in zip(hidden, self.factor_out.unbind(), strict=True)]
        # Stacked in front: there, the runtimes' own products can write into what is then transposed once.
        y = torch.stack(outputs).movedim(0, -1).flatten(-2) if self.interleaved else torch.cat(outputs, -1)
        return y if self.bias is None else y + self.bias


def first_product(x: torch.Tensor, factor_in: torch.Tensor) -> torch.Tensor:
    """Tokens (N, in_features) to what lies between the products: (output block, input block * rank, N)."""
    b, r = factor_in.shape[0], factor_in.shape[1] // factor_in.shape[0]
    hidden = torch.bmm(
        factor_in, x.reshape(-1, b, x.shape[1] // b).permute(1, 2, 0)
    )  # (input block, output block * rank, N)
    return swap_blocks(hidden, b, r)


def swap_blocks(hidden: torch.Tensor, b: int, r: int) -> torch.Tensor:
    """(block of one side, block of the other * rank, N) with the sides exchanged; moves long runs only."""
    return hidden.reshape(b, b, r, -1).transpose(0, 1).reshape(b, b * r, -1)


def write_outputs(
    hidden: torch.Tensor, factor_out: torch.Tensor, bias: torch.Tensor, interleaved: bool, y: torch.Tensor
) -> None:
    """The second product of `hidden` (output block, input block * rank, N) and the bias, into y (N, out_features).

    A product cannot write every b-th column: Monarch's go there block by block, in long strided runs."""
    b = len(factor_out)
    if interleaved:
        for j, rows in enumerate(torch.bmm(hidden.transpose(1, 2), factor_out.transpose(1, 2))):
            torch.add(rows, bias[j::b], out=y[:, j::b])
    else:
        for part, factor, of_block, place in zip(hidden, factor_out, bias.chunk(b), y.chunk(b, 1), strict=True):
            torch.addmm(of_block, part.T, factor.T, out=place)


class BlockProduct(torch.autograd.Function):
    """Both products and the bias, on a CPU: outputs and gradients of inputs are written where they belong, where
    autograd's own steps would copy them once more. Keeps the inputs and what lies between the products."""

    @staticmethod
    def forward(
        x: torch.Tensor, factor_in: torch.Tensor, factor_out: torch.Tensor, bias: torch.Tensor, interleaved: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        hidden, y = first_product(x, factor_in), x.new_empty(len(x), len(bias))
        for start in range(0, len(x), TOKENS):
            part = hidden[..., start : start + TOKENS]
            write_outputs(part, factor_out, bias, interleaved, y[start : start + TOKENS])
        return y, hidden

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
        x, factor_in, factor_out, _, ctx.interleaved = inputs
        ctx.save_for_backward(x, factor_in, factor_out, output[1])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor, _: Any) -> tuple[torch.Tensor | None, ...]:
        x, factor_in, factor_out, hidden = ctx.saved_tensors
        n, b, r = len(x), factor_in.shape[0], factor_in.shape[1] // factor_in.shape[0]
        wanted, grad = ctx.needs_input_grad, grad.contiguous()
        g = torch.stack([grad[:, j::b] for j in range(b)]) if ctx.interleaved else grad.view(n, b, -1).transpose(0, 1)
        of_x = of_in = None
        of_out = torch.bmm(g.transpose(1, 2), hidden.transpose(1, 2)) if wanted[2] else None
        if wanted[0] or wanted[1]:
            g = swap_blocks(torch.bmm(factor_out.transpose(1, 2), g.transpose(1, 2)), b, r)
        if wanted[1]:
            of_in = torch.bmm(g, x.reshape(n, b, -1).transpose(0, 1))
        if wanted[0]:
            of_x = x.new_empty(x.shape)
            for part, factor, place in zip(g, factor_in, of_x.view(n, b, -1).unbind(1), strict=True):
                torch.mm(part.T, factor, out=place)
        return of_x, of_in, of_out, grad.sum(0) if wanted[3] else None, None


# What each structure of a plan is built with; a module beside this one may add its own.
LAYERS: dict[str, Any] = {
    "low-rank": LowRankLinear,
    "block-low-rank": partial(BlockLinear, interleaved=False),
    "monarch": partial(BlockLinear, interleaved=True),
}


def build_layer(layer: dict[str, Any]) -> nn.Module:
    """The module for one entry of the plan: `{"structure", "shape": [out, in], "spec": {"rank", ...}, "bias"}`."""
    if layer["structure"] not in LAYERS:
        raise ValueError(f"unknown structure {layer['structure']!r} in config.factorization")
    # In format version 1 the entry itself had rank and blocks, or null.
    spec = layer["spec"] if "spec" in layer else {k: layer[k] for k in ("rank", "blocks") if layer.get(k)}
    out_features, in_features = layer["shape"]
    built: nn.Module = LAYERS[layer["structure"]](in_features, out_features, bias=layer["bias"], **spec)
    return built


def swap_layers(model: nn.Module, layers: list[dict[str, Any]]) -> None:
    """Replace, in place, every layer that the plan factorizes. Names are relative to the base model `model`."""
    for layer in layers:
        if layer["structure"] in ("dense", EMBEDDING):
            continue
        # A class may hold only one side of the architecture (an encoder without its decoder).
        if not hasattr(model, layer["name"].partition(".")[0]):
            continue
        parent, _, leaf = layer["name"].rpartition(".")
        owner = model.get_submodule(parent)
        if not isinstance(getattr(owner, leaf), FactorizedLinear):
            setattr(owner, leaf, build_layer(layer))


class FactorizedModel(nn.Module):
    """Mixin before a native model class: build it, swap the layers of the plan, finish the initialization."""

    base_model: Any
    config_class: Any
    post_init: Any
    register_for_auto_class: Any

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        # Some native heads build their inner model with AutoModel.from_config, which must know our base class.
        transformers.AutoModel.register(type(config), type(self)._factorized_base(), exist_ok=True)
        super().__init__(config, *args, **kwargs)
        plan = config.factorization
        if plan["format_version"] > FORMAT_VERSION:
            raise ValueError(
                f"this model has format version {plan['format_version']}, this code reads up to {FORMAT_VERSION}: "
                "use the Python files that came with the model"
            )
        swap_layers(self.base_model, plan["layers"])
        for layer in plan["layers"]:
            if layer["structure"] == EMBEDDING:
                swap_embedding(self, build_embedding(layer), layer["spec"]["tied"])
        self.post_init()
        autos = [auto for auto, name in (getattr(config, "auto_map", None) or {}).items() if _names(name, type(self))]
        if autos:
            self.register_for_auto_class(autos[0])  # so that save_pretrained copies this code

    def get_output_embeddings(self) -> Any:
        """None where a configuration ties the head to an embedding that is factorized: nobody is then to tie or resize
        it. The head does so itself (TiedHead), or is one that differed in the weights."""
        head = super().get_output_embeddings()  # type: ignore[misc]
        tied = getattr(self.base_model.config, "tie_word_embeddings", False)
        factorized = any(isinstance(m, FactorizedEmbedding) for m in self.base_model.modules())
        return None if isinstance(head, TiedHead) or (tied and factorized) else head

    def resize_token_embeddings(self, new_num_tokens: int | None = None, *args: Any, **kwargs: Any) -> Any:
        """Raises ValueError for a factorized embedding, of which a row more or less is another factorization."""
        embedding = self.get_input_embeddings()  # type: ignore[operator]
        if not isinstance(embedding, FactorizedEmbedding):
            return super().resize_token_embeddings(new_num_tokens, *args, **kwargs)  # type: ignore[misc]
        if new_num_tokens not in (None, embedding.num_embeddings):
            raise ValueError(
                f"the embeddings are factorized for {embedding.num_embeddings} tokens: resize those of the dense "
                "model, and factorize it again"
            )
        return embedding

    @classmethod
    def _factorized_base(cls) -> Any:
        native_config = getattr(transformers, cls.config_class.__name__.removeprefix(PREFIX))
        base: Any = transformers.MODEL_MAPPING[native_config]
        base = base[0] if isinstance(base, (list, tuple)) else base
        return globals().get(PREFIX + base.__name__) or __getattr__(PREFIX + base.__name__)


def _names(reference: str, model_class: type) -> bool:
    """Whether an entry of `auto_map` (`module.Class`, of the Hub `repository--module.Class`) is the class."""
    return reference.rpartition(".")[2] == model_class.__name__


def factorized_class(name: str, module: str) -> Any:
    """The class of this name ("FactorizedBertModel") in a module, this one or one beside it; made when first asked."""
    native: Any = getattr(transformers, name.removeprefix(PREFIX), None)
    if not name.startswith(PREFIX) or not hasattr(native, "base_model_prefix"):
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    config_class = getattr(configuration_factorized, PREFIX + native.config_class.__name__)
    attributes = {
        "__module__": module,
        "__doc__": f"{native.__name__} with factorized layers.",
        "config_class": config_class,
    }
    model_class: Any = type(name, (FactorizedModel, native), attributes)
    setattr(sys.modules[module], name, model_class)
    return model_class


def __getattr__(name: str) -> Any:
    return factorized_class(name, __name__)
