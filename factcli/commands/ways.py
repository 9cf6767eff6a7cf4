"""The models that `frontier` compares: made by the other commands in a directory, where what is done stays done."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..compress.dropping import every, export_plain
from ..errors import FactcliError
from ..files.outputs import Output
from ..models.model import Model, find_model
from ..notes import note, said_before
from ..recipe.running import Ways
from ..recipe.values import BEST, CUT, WAYS
from ..runtimes.formats import formats
from ..searching.healing import options_for
from .convert import convert
from .export import export
from .finetune import finetune
from .texts import Texts

PRECISIONS = ("float32", "int8")
KEPT = {  # ways that keep a share of the targets' parameters, and what they are called
    WAYS[1]: WAYS[1], "kfac-embeddings": "kfac, embeddings too", CUT: "kfac, embeddings and vocabulary too",
    "svd": "plain SVD",
}  # fmt: skip
STEPS = {2: "every second layer", 3: "every third layer"}
Files = dict[tuple[str, str], Path | None]  # backend and precision -> a file; None for the model itself, in torch


@dataclass(frozen=True)
class Candidate:
    """A model to make: the `folder` that it is made in, its `way` and what that is called; `keep` is the share of its
    targets that stays, `step` that of its layers, `dtype` the precision of a dense one. `healed` is the folder of the
    one that it is trained from."""

    folder: str
    way: str
    said: str
    keep: float | None = None
    step: int | None = None
    dtype: str = "float32"
    healed: str | None = None


def candidates(how: Ways) -> Iterator[Candidate]:
    """What is compared, the dense model first."""
    yield Candidate("dense", "dense", "dense")
    if "dense" in how.chosen:
        yield Candidate("dense-bfloat16", "dense", "dense", dtype="bfloat16")
    made = [
        Candidate(f"{way}-{keep:g}", way, f"{said}, {keep:g}", keep=keep)
        for way, said in KEPT.items()
        for keep in how.keeps
        if way in how.chosen
    ]
    made += [Candidate(f"layers-{n}", "layers", said, step=n) for n, said in STEPS.items() if "layers" in how.chosen]
    for one in made:
        yield one
        if how.heal is not None and one.way != "svd":
            yield Candidate(f"{one.folder}-healed", one.way, one.said, one.keep, one.step, healed=one.folder)


class Maker:
    """Makes candidates of a source in `work`, with their files for `backends`. What stands there is taken as it is."""

    def __init__(self, source: Model, work: Path, texts: Texts, backends: tuple[str, ...], how: Ways) -> None:
        self.source, self.work, self.texts, self.backends, self.how = source, work, texts, backends, how
        self.left_out: list[dict[str, str]] = []

    def made(self, one: Candidate) -> Model | None:
        """The model; None where this source cannot be made so, which is said. The dense one is always there."""
        folder = self.work / one.folder
        try:
            if not folder.is_dir():
                with said_before():
                    self._make(one, folder)
            return find_model(str(folder), None, self.source.trusted, accept_factorized=True)
        except FactcliError as error:
            if one.folder == "dense":
                raise
            self._leave(one, one.said if one.healed is None else f"{one.said}, healed", error)
            return None

    def files(self, one: Candidate, model: Model) -> Files:
        """What each backend runs of a model, in each precision that is compared; what cannot be made is said."""
        found: Files = {("torch", one.dtype): None} if "torch" in self.backends or one.folder == "dense" else {}
        if one.dtype != "float32" or ("dense" not in self.how.chosen and one.way == "dense"):
            return found
        names = [name for name in self.backends if name != "torch"]
        places = {(n, p): model.path / formats[n].file(p) for n in names for p in PRECISIONS if p in
                  formats[n].precisions}  # fmt: skip
        self._export(one, model, [each for each, file in places.items() if not file.is_file()])
        return found | {each: file for each, file in places.items() if file.is_file()}

    def _make(self, one: Candidate, folder: Path) -> None:
        origin: dict[str, Any] = {"trust_remote_code": True} if self.source.trusted else {}
        if one.healed is not None:
            if not (self.work / one.healed).is_dir():
                raise FactcliError("what it is trained from is left out.")
            finetune(
                str(self.work / one.healed), folder, teacher=str(self.work / "dense"), train=self.texts.heal,
                max_steps=self.how.heal_steps, save_steps=0, overwrite=True, **options_for(self.source), **origin,
            )  # fmt: skip
        elif one.keep is None:
            stay = None if one.step is None else every(self.source, one.step)
            export_plain(self.source, Output(folder), stay, one.dtype)
        else:
            options: dict[str, Any] = dict(BEST) if one.way != "svd" else {}
            options |= self.texts.calibration if options else {}
            options |= {"embeddings": "factorize"} if one.way in ("kfac-embeddings", CUT) else {}
            options |= {"vocabulary": self.texts.vocabulary} if one.way == CUT else {}
            convert(str(self.work / "dense"), folder, keep=one.keep, **options, **origin)

    def _export(self, one: Candidate, model: Model, files: list[tuple[str, str]]) -> None:
        """These formats and precisions in one, for they share a graph; where one fails, each by itself."""
        if not files:
            return
        names, precisions = (tuple(dict.fromkeys(column)) for column in zip(*files, strict=True))
        if len(names) * len(precisions) > len(files):  # some of them stand already
            for each in files:
                self._export(one, model, [each])
            return
        try:
            with said_before():
                export(
                    str(model.path), format=names, precision=precisions,
                    trust_remote_code=self.source.trusted or None, **self.texts.calibration,
                )  # fmt: skip
        except FactcliError as error:
            if len(files) == 1:
                self._leave(one, f"{one.said}, {' '.join(files[0])}", error)
            for each in files if len(files) > 1 else ():
                self._export(one, model, [each])

    def _leave(self, one: Candidate, what: str, error: Exception) -> None:
        self.left_out.append({"model": one.folder, "what": what, "why": str(error)})
        note(f"Left out, {what}: {error}")
