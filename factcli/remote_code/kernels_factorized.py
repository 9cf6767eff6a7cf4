"""The second product of block layers on a GPU, in numbers of 16 bits: one kernel where plain products need two copies
and an addition beside them. Triton compiles it; where there is none, or it cannot, the plain products do."""

import math
import os
import warnings

import torch

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

SWITCH = "FACTORIZED_KERNELS"  # an environment variable: 0 turns them off
COLUMNS = 64  # of a tile of outputs
_state = {"works": triton is not None}


def usable(x: torch.Tensor) -> bool:
    """Whether a layer may run its second product here: for inference alone, as there is no backward pass."""
    return (
        _state["works"]
        and x.dtype in (torch.float16, torch.bfloat16)
        and (x.is_cuda and torch.version.hip is None and torch.cuda.get_device_capability(x.device) >= (8, 0))
        and not torch.is_grad_enabled()
        and os.environ.get(SWITCH) != "0"
    )


def block_product(
    x: torch.Tensor, factor_in: torch.Tensor, factor_out: torch.Tensor, bias: torch.Tensor | None, interleaved: bool
) -> torch.Tensor | None:
    """What a block layer says of tokens x (N, in_features), as (N, out_features); None where the kernel fails, which is
    said once."""
    try:
        return _block_product(x, factor_in, factor_out, bias, interleaved)
    except Exception as error:  # no C compiler, an unknown GPU: whatever Triton may lack
        _state["works"] = False
        warnings.warn(
            f"Triton does not run here ({type(error).__name__}: {str(error)[:200]}); block layers run as plain "
            f"products, as with {SWITCH}=0.",
            stacklevel=2,
        )
        return None


def _block_product(
    x: torch.Tensor, factor_in: torch.Tensor, factor_out: torch.Tensor, bias: torch.Tensor | None, interleaved: bool
) -> torch.Tensor:
    n, b, rows = len(x), len(factor_in), factor_out.shape[1]
    rank = factor_in.shape[1] // b
    by_block = x.view(n, b, x.shape[1] // b).transpose(0, 1)  # a view that the product reads as it is
    hidden = torch.bmm(by_block, factor_in.transpose(1, 2))  # (input block, N, output block * rank)
    y = x.new_empty(n, b * rows)
    if n == 0:
        return y
    factor_out = factor_out.contiguous()
    tile = 16 if n <= 16 else 32 if n <= 256 else 64
    inner = min(64, max(16, triton.next_power_of_2(rank)))
    aligned = math.gcd(rank, 8)
    grid = (b * triton.cdiv(rows, COLUMNS) * triton.cdiv(n, tile),)
    _second_product[grid](
        hidden, factor_out, bias, y, n, rows, rank // aligned,
        BLOCKS=b, INTERLEAVED=interleaved, TILE=tile, INNER=inner, ALIGNED=aligned, num_warps=4, num_stages=3,
    )  # fmt: skip
    # Written interleaved by the kernel itself, it took 2.4 times as long as all of the plain products (H200).
    return y.view(n, b, rows).transpose(1, 2).reshape(n, b * rows) if interleaved else y


if triton is not None:
    WIDTH = tl.constexpr(COLUMNS)

    @triton.jit  # type: ignore[untyped-decorator]
    def _second_product(  # type: ignore[no-untyped-def]
        hidden, factor, bias, y, n, rows, units,
        BLOCKS: tl.constexpr, INTERLEAVED: tl.constexpr, TILE: tl.constexpr, INNER: tl.constexpr, ALIGNED: tl.constexpr,
    ):  # fmt: skip
        """A tile of tokens times a tile of the rows of one output block: the sum over input blocks of hidden (input
        block, token, output block * rank) times factor (output block, row, input block * rank), and the bias, which
        is interleaved where the layer is; y is not."""
        rank = units * ALIGNED  # so, the compiler sees what divides addresses: how many numbers to load at once
        steps = tl.cdiv(rank, INNER)
        of_token = BLOCKS * rank
        of_block = tl.cast(n, tl.int64) * of_token
        block = tl.program_id(0) % BLOCKS
        place = tl.program_id(0) // BLOCKS
        across = tl.cdiv(rows, WIDTH)
        token = (place // across) * TILE + tl.arange(0, TILE)
        row = (place % across) * WIDTH + tl.arange(0, WIDTH)
        inner = tl.arange(0, INNER)
        left = hidden + token[:, None].to(tl.int64) * of_token + block * rank + inner[None, :]
        right = factor + (block * rows + row[None, :]).to(tl.int64) * (BLOCKS * rank) + inner[:, None]
        found = tl.zeros((TILE, WIDTH), dtype=tl.float32)
        for step in range(BLOCKS * steps):  # one loop, so that the next step's loads run beside this one's product
            source, start = step // steps, (step % steps) * INNER
            within = start + inner < rank
            a = tl.load(left + source * of_block + start, mask=(token[:, None] < n) & within[None, :], other=0.0)
            c = tl.load(right + source * rank + start, mask=(row[None, :] < rows) & within[:, None], other=0.0)
            found = tl.dot(a, c, found)
        column = block * rows + row
        if bias is not None:
            of_row = row * BLOCKS + block if INTERLEAVED else column
            found += tl.load(bias + of_row, mask=row < rows, other=0.0).to(tl.float32)[None, :]
        to = y + token[:, None].to(tl.int64) * (BLOCKS * rows) + column[None, :]
        tl.store(to, found.to(y.dtype.element_ty), mask=(token[:, None] < n) & (row[None, :] < rows))
