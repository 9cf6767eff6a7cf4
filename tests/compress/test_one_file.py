"""What docs/contributing.md says, proved: a criterion or a structure is one file, and the line that registers it.

Each is written where factcli is not, imported, and taken from a recipe to an export that reloads where factcli is not.
The structure is no grid and needs a layer that no export has yet: that is the one file more.
"""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from factcli import convert, finetune, load
from factcli.compress.criteria import criteria
from factcli.compress.structures import structures
from factcli.errors import UsageError
from factcli.models.targets import matrix
from factcli.recipe.registry import Registry

from ..conftest import Run
from ..training_helpers import save_model, weights, write_glue

CRITERION = '''
"""Rows count by their size."""

from factcli.compress.criteria.base import Criterion, Evidence, criteria
from factcli.compress.norms import KroneckerNorm, Norm
from factcli.recipe.fields import Options, option


class RowOptions(Options):
    power: float = option(2.0, "Of the size of a row, by which its errors count.", ge=0)


@criteria.register
class Rows(Criterion):
    name = "rows"
    title = "row-weighted SVD"
    paper = "nobody 2001, of no consequence"
    options = RowOptions

    def norm(self, given: Evidence) -> Norm:
        return KroneckerNorm((given.matrix.double().norm(dim=1) ** self.own.power).diag())
'''

STRUCTURE = '''
"""Sums of Kronecker products: W = sum of A_k x B_k (Van Loan and Pitsianis 1993)."""

from pathlib import Path

from factcli.compress.norms import FROBENIUS
from factcli.compress.structures.base import Structure, structures
from factcli.errors import UsageError
from factcli.recipe.fields import Options, option


class SideOptions(Options):
    side: int = option(4, "Rows and columns of the small factor.", ge=2)


@structures.register
class Kronecker(Structure):
    name = "kronecker"
    title = "Kronecker"
    paper = "Van Loan and Pitsianis 1993, Approximation with Kronecker products"
    options = SideOptions
    layer_file = Path(__file__).with_name("modeling_kronecker.py")

    def check(self, targets):
        if bad := [t.name for t in targets if t.shape[0] % self.own.side or t.shape[1] % self.own.side]:
            raise UsageError(f"--side {self.own.side} does not divide {bad[0]}.")

    def parameters(self, shape, rank):
        return rank * (shape[0] * shape[1] // self.own.side**2 + self.own.side**2)

    def max_rank(self, shape):
        return min(shape[0] * shape[1] // self.own.side**2, self.own.side**2)

    def spec(self, rank):
        return {"rank": rank, "side": self.own.side}

    def gains(self, w, norm=FROBENIUS):
        from torch.linalg import svdvals

        return svdvals(rearranged(w, self.own.side)).square()

    def project(self, w, spec, norm=FROBENIUS):
        from torch.linalg import svd

        side, rank = spec["side"], spec["rank"]
        u, s, vh = svd(rearranged(w, side), full_matrices=False)
        root = s[:rank].sqrt()[:, None]
        large, small = (u.T[:rank] * root).view(rank, w.shape[0] // side, -1), (root * vh[:rank]).view(rank, side, side)
        return {"large": large, "small": small}

    def dense(self, tensors):
        from torch import kron

        return sum(kron(a, b) for a, b in zip(tensors["large"], tensors["small"], strict=True))


def rearranged(w, side):
    """W, the blocks of side x side as rows."""
    m, n = w.shape
    return w.view(m // side, side, n // side, side).transpose(1, 2).reshape(-1, side * side)
'''

LAYER = '''
"""Factorized transformers with sums of Kronecker products."""

import torch
from torch import nn

from .configuration_factorized import PREFIX
from .modeling_factorized import LAYERS, FactorizedLinear, factorized_class


class KroneckerLinear(FactorizedLinear):
    def __init__(self, in_features, out_features, rank, side, bias):
        super().__init__(in_features, out_features)
        self.large = nn.Parameter(torch.empty(rank, out_features // side, in_features // side))
        self.small = nn.Parameter(torch.empty(rank, side, side))
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None

    def forward(self, x):
        blocks = x.view(*x.shape[:-1], self.large.shape[2], self.small.shape[2])
        y = torch.einsum("kij,kab,...jb->...ia", self.large, self.small, blocks).flatten(-2)
        return y if self.bias is None else y + self.bias


LAYERS["kronecker"] = KroneckerLinear


def __getattr__(name):
    return factorized_class(name, __name__)
'''

RELOAD = """if True:
    import sys, torch, transformers
    model = transformers.AutoModelForSequenceClassification.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
    model.save_pretrained(sys.argv[2])
    again = transformers.AutoModelForSequenceClassification.from_pretrained(sys.argv[2], trust_remote_code=True).eval()
    with torch.inference_mode():
        logits, other = (m(input_ids=torch.tensor([[1, 5, 6, 7, 2]])).logits for m in (model, again))
    assert torch.equal(logits, other)
    print(logits.tolist())
"""


@pytest.fixture
def clean() -> Iterator[None]:
    """What a test registers is forgotten after it."""
    kinds: tuple[Registry[type], ...] = (criteria, structures)  # type: ignore[assignment]
    before = [dict(kind._entries) for kind in kinds]
    yield
    for kind, entries in zip(kinds, before, strict=True):
        kind._entries = entries


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("one file") / "dense", head="BertForSequenceClassification")


def imported(file: Path, text: str) -> None:
    file.write_text(text)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def recipe(folder: Path, **values: object) -> Path:
    (folder / "recipe.yaml").write_text(json.dumps({"keep": 0.5} | values))
    return folder / "recipe.yaml"


def strangers_logits(stranger: Run, export: Path) -> torch.Tensor:
    done = stranger("-c", RELOAD, str(export), str(export.with_name("again")))
    assert done.returncode == 0, done.stderr
    return torch.tensor(json.loads(done.stdout.splitlines()[-1]))


def test_a_criterion_with_an_option(dense: Path, tmp_path: Path, clean: None, stranger: Run) -> None:
    imported(tmp_path / "rows.py", CRITERION)
    made = {}
    for power in (None, 0.0, 6.0):
        chosen = {} if power is None else {"power": power}
        out = tmp_path / f"out-{power}"
        result = convert(str(dense), out, config=recipe(tmp_path, criterion="rows", **chosen))
        assert result["criterion"] == "rows"
        assert (f"power: {power}" in (out / "factcli_recipe.yaml").read_text()) == (power is not None)
        made[power] = weights(out)
    convert(str(dense), tmp_path / "plain", keep=0.5)
    name = "bert.encoder.layer.0.attention.self.query"
    w = matrix(load(tmp_path / "out-6.0").get_submodule(name).factor_out).double()
    assert w.shape[0] == 32

    def product(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        return tensors[f"{name}.factor_out.weight"] @ tensors[f"{name}.factor_in.weight"]

    assert torch.allclose(product(made[0.0]), product(weights(tmp_path / "plain")), atol=1e-6)  # all rows alike
    assert not torch.allclose(product(made[None]), product(made[6.0]), atol=1e-3)
    convert(str(dense), tmp_path / "all", config=recipe(tmp_path, criterion="rows"), method="monarch",
            allocation="global", blocks=2)  # fmt: skip
    with pytest.raises(UsageError, match=r"power: -1\.0, which is below 0"):
        convert(str(dense), config=recipe(tmp_path, criterion="rows", power=-1.0), dry_run=True)
    assert torch.isfinite(strangers_logits(stranger, tmp_path / "all")).all()


def test_a_structure_that_is_no_grid(dense: Path, tmp_path: Path, clean: None, stranger: Run) -> None:
    (tmp_path / "modeling_kronecker.py").write_text(LAYER)
    imported(tmp_path / "kronecker.py", STRUCTURE)
    config = recipe(tmp_path, method="kronecker", side=8)
    for allocation in ("global", "uniform"):
        result = convert(str(dense), tmp_path / allocation, config=config, allocation=allocation)
        assert result["targets"]["after"] <= 0.5 * result["targets"]["before"]
    layer = next(x for x in result["layers"] if x["structure"] == "kronecker")
    assert (layer["side"], layer["blocks"]) == (8, None)
    m, n = layer["shape"]
    assert layer["parameters"] == layer["rank"] * (m * n // 64 + 64)
    assert 0 < result["error"] < 1
    model = load(tmp_path / "uniform").eval()
    with torch.inference_mode():
        expected = model(input_ids=torch.tensor([[1, 5, 6, 7, 2]])).logits
    assert torch.equal(strangers_logits(stranger, tmp_path / "uniform"), expected)
    with pytest.raises(UsageError, match="--side 7 does not divide encoder"):
        convert(str(dense), config=recipe(tmp_path, method="kronecker", side=7), dry_run=True)
    config = recipe(tmp_path, method="kronecker", side=8)
    glue = write_glue(tmp_path / "glue", "sst2", train=16, validation=8)
    trained = finetune(str(dense), tmp_path / "trained", config=config, task="sst2", data_dir=glue, max_steps=2,
                       save_steps=1, batch_size=8, device="cpu", criterion="activation")  # fmt: skip
    assert trained["steps"] == 2
    assert (tmp_path / "trained" / "modeling_kronecker.py").read_text() == LAYER
    again = finetune(str(tmp_path / "uniform"), tmp_path / "healed", task="sst2", data_dir=glue, max_steps=1,
                     batch_size=8, device="cpu")  # fmt: skip
    assert again["steps"] == 1
