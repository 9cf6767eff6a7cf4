"""What an export takes from its source: the files that some loader of the source reads, as transformers names them and
as the source's own configuration files do, and nothing else."""

import json
import os
import posixpath
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PureWindowsPath
from typing import Any

import transformers
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

from ..errors import FactcliError
from ..files.links import inside, names_in, read_text, within
from ..remote_code import CODE, code_files
from .machine import portable_tokenizer, without_implementations
from .own_code import Reference, closure, is_native, pipelines, references

INDEX, WEIGHTS, ADAPTER = "model.safetensors.index.json", "model.safetensors", "adapter_config.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_OTHER_FORMATS = (".h5", ".msgpack", ".onnx", ".ot", ".gguf", ".tflite")
# What factcli itself writes beside config.json and the weights.
OURS = (
    "README.md", "factcli_recipe.yaml", "finetune_results.json", "eval_results.json", "bench_results.json",
    *(file.name for file in CODE),
)  # fmt: skip
_TOKENIZER = (
    "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "chat_template.json", "tekken.json", "tiktoken.model", "tokenizer.model.v*",
)  # fmt: skip
# The vocabulary files of transformers' tokenizers, 4.57 to 5.24: which class reads them differs between the two.
VOCABULARIES = (
    "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model", "sentencepiece.model",
    "spm.model", "spm_char.model", "tokenizer.model", "source.spm", "target.spm", "target_vocab.json", "vocab-src.json",
    "vocab-tgt.json", "bpe.codes", "dict.txt", "byte_maps.json", "emoji.json", "entity_vocab.json", "normalizer.json",
    "prophetnet.tokenizer", "word_shape.json", "word_pronunciation.json",
)  # fmt: skip
_VOCABULARY_SUFFIXES = (".tiktoken", ".model", ".spm", ".vocab", ".bpe", ".codes", ".merges")
_PROCESSOR = (
    "processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json", "audio_tokenizer_config.json"
)  # fmt: skip
_OF_PROCESSORS = {"Wav2Vec2ProcessorWithLM": ("alphabet.json", "language_model/*")}
_MODEL = ("generation_config.json",)
_SENTENCES = ("modules.json", "config_sentence_transformers.json", "router_config.json", "sentence_*_config.json")
_LICENSE = re.compile("(licen[cs]e|notice|copying|copyright|(acceptable_)?use_policy|third[-_]party)", re.IGNORECASE)
_LICENSE_WHY = "the license"
# Left out without a word: weights of the source in whatever format, its card, what a training or git leaves behind.
_EXPECTED = (
    "config.json", *OURS, WEIGHTS, "model-*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin*",
    "tf_model.h5", "flax_model.msgpack", "rust_model.ot", "onnx/*", "openvino/*", "coreml/*", "training_args.bin",
    "trainer_state.json", "optimizer.*", "scheduler.pt", "scaler.pt", "rng_state*.pth", "*_results.json", ".git*",
    ".cache*", ".ipynb_checkpoints*", ".DS_Store", "__pycache__/*",
)  # fmt: skip
_BUILT_IN = "sentence_transformers."


@dataclass
class Survey:
    """What an export takes from the model `name`.

    `files` are names (relative, posix) -> why they are taken; `code` the Python files among them -> what they are the
    code of; `elsewhere` code that is fetched or installed by who loads it -> what it is the code of; `untrusted` code
    that stays behind for want of --trust-remote-code, as transformers has a class in its place; `left` the names left
    out that a user might miss; `problems` sentences on why no export can be made.
    """

    name: str
    files: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)
    untrusted: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def notes(self) -> Iterator[str]:
        """What is left out, in sentences."""
        for text, of in sorted(self.untrusted.items()):
            yield (
                f"{self.name} has code of its own for {of} ({text}), which is left out: read it, then give "
                "--trust-remote-code to take it into the export."
            )
        groups: dict[str, int] = {}
        for name in self.left:
            top, _, below = name.partition("/")
            groups[f"{top}/" if below else name] = groups.get(f"{top}/" if below else name, 0) + 1
        if groups:
            shown = [f"{name} ({n} files)" if n > 1 else name for name, n in groups.items()]
            more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
            yield (
                f"Left out of what {self.name} holds, as neither transformers nor sentence-transformers reads it: "
                f"{', '.join(shown[:5])}{more}."
            )


def survey(name: str, names: Collection[str], read: Callable[[str], str], trusted: bool) -> Survey:
    """What an export takes of the files `names` (relative, posix) of the model `name`; `read` gives the text of one.

    Raises FactcliError where a configuration file cannot be read.
    """
    return _Surveyor(name, frozenset(names), read, trusted).run()


def survey_directory(folder: Path, name: str, trusted: bool) -> Survey:
    """The survey of a directory. Raises FactcliError as `survey`, and for a file that is read and lies outside."""
    found = survey(name, names_in(folder), lambda file: read_text(folder, file, name), trusted)
    linked = [n for n, why in found.files.items() if why == _LICENSE_WHY and not within(folder, n)]
    for license_ in linked:  # that of a whole collection, perhaps: no loader stops for want of it
        del found.files[license_]
    found.left = sorted([*found.left, *linked])
    return found


def check(found: Survey, folder: Path) -> None:
    """Raises FactcliError where no export can be made: a file that is taken lies outside `folder`, the code of its
    tokenizer is not trusted, weights of a further module are pickles, …"""
    if found.problems:
        raise FactcliError(found.problems[0])
    names = names_in(folder)
    weights = [n for n in parts(found, names, lambda file: read_text(folder, file, found.name)) if n not in _ours()]
    outside = sorted(n for n in {*found.files, *weights, "config.json"} if n in names and not within(folder, n))
    if outside:
        raise FactcliError(
            f"{outside[0]} of {found.name} is a link that leads out of the directory, or nowhere: put the file itself "
            "there, or remove the link."
        )
    closed = sorted(n for n in found.files if not os.access(folder / n, os.R_OK))
    if closed:
        raise FactcliError(f"{closed[0]} of {found.name} may not be read: change its rights.")


def _ours() -> set[str]:
    return {*OURS, *(file.name for file in code_files())}


def parts(found: Survey, names: Collection[str], read: Callable[[str], str]) -> set[str]:
    """The files that make up a model, and nothing that lies beside them: what is carried, config.json, the weights
    (whether they are there or not), and what factcli wrote."""
    here = {"config.json", *_ours()} & set(names)
    return {*found.files, *here, *weight_names(names, read)}


def weight_names(names: Collection[str], read: Callable[[str], str], folder: str = "") -> set[str]:
    """The weights of the transformer in `folder`: model.safetensors, or the file that config.json names instead; or an
    index and what it names."""
    named = _values(names, read, posixpath.join(folder, "config.json"), "transformers_weights")
    file = posixpath.join(folder, str(named or WEIGHTS))
    index = file if file.endswith(".index.json") else f"{file}.index.json"
    entries = _values(names, read, index, "weight_map")
    if not isinstance(entries, dict):
        return {file}
    return {index, *(posixpath.join(folder, str(entry)) for entry in entries.values())}


def _values(names: Collection[str], read: Callable[[str], str], file: str, key: str) -> Any:
    try:
        return json.loads(read(file))[key] if file in names else None
    except (ValueError, KeyError, TypeError):  # whoever loads it says so
        return None


def copy(found: Survey, folder: Path, work: Path, trusted: bool) -> None:
    """Put what is taken of `folder` into `work`: byte for byte, but for what configuration files say of another
    machine and of code that is not trusted."""
    for name in found.files:
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        source, file = inside(folder, name, found.name), work / name
        written = values = _portable_of(name, source)
        if posixpath.basename(name) == "tokenizer_config.json":
            files = {posixpath.relpath(n, posixpath.dirname(name) or ".") for n in found.files}
            values = portable_tokenizer(values, files)
        if not trusted:
            values = {k: v for k, v in values.items() if k != "auto_map"}
        values = without_implementations(values)
        if values != written:
            file.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        else:
            shutil.copyfile(source, file)


def _portable_of(name: str, file: Path) -> dict[str, Any]:
    # What says of tokenizers, processors and the transformer of sentence-transformers how they are loaded.
    leaf = posixpath.basename(name)
    if leaf in ("tokenizer_config.json", *_PROCESSOR) or fnmatch(leaf, "sentence_*_config.json"):
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return values
    return {}


class _Surveyor:
    def __init__(self, name: str, names: frozenset[str], read: Callable[[str], str], trusted: bool) -> None:
        self.name, self.names, self.read, self.trusted = name, names, read, trusted
        self.found = Survey(name)
        self.spoken: set[str] = set()  # names that another sentence is about

    def run(self) -> Survey:
        config = self.json("config.json")
        self.transformer("", config)
        self.take_all(_SENTENCES, "sentence-transformers")
        self.modules()
        for name in self.names:
            if "/" not in name and _LICENSE.match(name):
                self.take(name, _LICENSE_WHY)
        for reference in pipelines(config):
            self.reference(reference, stand_in=True)
        if "custom_generate/generate.py" in self.names:
            self.reference(Reference("custom_generate.generate.generate", "generate"), stand_in=True)
            if self.trusted:
                self.take("custom_generate/requirements.txt", "the code of generate")
        self.spoken |= {r.file for r in references(config, of_models=True)}
        unnamed = self.names - self.found.files.keys() - self.spoken - weight_names(self.names, self.read)
        self.found.left = sorted(n for n in unnamed if not any(fnmatch(n, p) for p in _EXPECTED))
        return self.found

    def transformer(self, folder: str, config: dict[str, Any]) -> None:
        """Tokenizer, processor and generation of a transformer in `folder`."""
        self.tokenizer(folder, config)
        processor_class = None
        for file in _PROCESSOR:
            values = self.json(posixpath.join(folder, file))
            self.take(posixpath.join(folder, file), "the processor")
            self.named(values, folder, file)
            processor_class = processor_class or values.get("processor_class")
            for reference in references(values):
                self.reference(reference, stand_in=True)
        for pattern in _OF_PROCESSORS.get(str(processor_class), ()):
            for name in self.matching(posixpath.join(folder, pattern)):  # one of them is a language model's .bin
                self.found.files.setdefault(name, "the processor")
        self.take_all([posixpath.join(folder, file) for file in _MODEL], "generation")
        for reference in references(config):
            self.reference(reference, stand_in=True)

    def tokenizer(self, folder: str, config: dict[str, Any]) -> None:
        """The files of the tokenizer in `folder`, and of those that a processor keeps in folders of their own."""
        file = posixpath.join(folder, "tokenizer_config.json")
        values = self.json(file)
        class_name = values.get("tokenizer_class") or config.get("tokenizer_class")
        class_name = class_name or TOKENIZER_MAPPING_NAMES.get(
            str(config.get("model_type")).removeprefix("factorized_")
        )
        listed = values.get("fast_tokenizer_files") or ()
        patterns = [*_TOKENIZER, *VOCABULARIES, *_vocabulary_of(class_name), "additional_chat_templates/*.jinja"]
        patterns += [str(n) for n in listed] if isinstance(listed, list) else []
        own = references(values)
        if self.trusted and any(r.repository for r in own):  # which files such code reads is known there only
            patterns += [f"*{suffix}" for suffix in _VOCABULARY_SUFFIXES]
        self.take_all([posixpath.join(folder, p) for p in patterns], "the tokenizer")
        self.named(values, folder, "tokenizer_config.json")
        for reference in own:
            stand_in = reference.of != "the tokenizer" or is_native(values.get("tokenizer_class"))
            self.reference(reference, stand_in)
        start = f"{folder}/" if folder else ""
        for name in sorted(self.names):
            below, _, leaf = name.removeprefix(start).rpartition("/")
            if name.startswith(start) and leaf == "tokenizer_config.json" and re.fullmatch("[^/]*tokenizer", below):
                self.tokenizer(start + below, {})

    def modules(self) -> None:
        """The modules of sentence-transformers, by modules.json and the tables of its routers."""
        entries = self.load("modules.json") if "modules.json" in self.names else []
        if not isinstance(entries, list) or not all(isinstance(e, dict) and "path" in e for e in entries):
            raise FactcliError(f"modules.json of {self.name} is not a list of modules with their paths.")
        for entry in entries:
            self.module(str(entry["path"]), str(entry.get("type", "")), "modules.json")

    def module(self, path: str, kind: str, where: str) -> None:
        pure = PureWindowsPath(path)  # refuses what either kind of path can do
        folder = posixpath.normpath(path) if path else ""
        folder = "" if folder == "." else folder
        if pure.anchor or ".." in pure.parts:
            raise FactcliError(f"{where} of {self.name} names {path}, which is outside of the model.")
        if folder in self.names:  # a link that leaves, listed by its own name
            self.take(folder, f"a module of {where}")
            return
        own = not kind.startswith(_BUILT_IN)
        if own:
            self.reference(Reference(kind, f"the module {path or '.'}"), stand_in=False)
        router = self.json(posixpath.join(folder, "router_config.json"))
        if not router and kind.endswith((".Router", ".Asym")):
            router = self.json(posixpath.join(folder, "config.json"))  # as it was written once
        types = router.get("types")
        for below, type_ in types.items() if isinstance(types, dict) else ():
            if below:
                self.module(posixpath.join(folder, str(below)), str(type_), "router_config.json")
            elif not str(type_).startswith(_BUILT_IN):
                self.reference(Reference(str(type_), f"the module {folder or '.'}"), stand_in=False)
        if folder:
            self.files_of_module(folder, own)

    def files_of_module(self, folder: str, own: bool) -> None:
        why, start = f"the module {folder}", f"{folder}/"
        self.take_all([f"{start}config.json", f"{start}*_config.json"], why)
        for name in sorted(self.names):
            if name.startswith(start) and name.endswith("config.json") and "/" not in name.removeprefix(start):
                self.named(self.json(name), folder, name)
        self.transformer(folder, self.json(f"{start}config.json"))
        weights = weight_names(self.names, self.read, folder)
        self.take_all(sorted(weights), why)
        pickled = sorted(n for n in self.names if n.startswith(start) and n.endswith(PICKLES))
        if pickled and not weights & self.names:
            self.found.problems.append(
                f"{self.name} has pickled weights in a module of sentence-transformers ({pickled[0]}), which are not "
                "read: save the whole model again with sentence-transformers, which writes safetensors, or remove "
                "modules.json to convert its transformer alone."
            )
        self.spoken |= set(pickled)
        if own and self.trusted:  # its own code may read anything of it
            self.take_all([f"{start}*"], why)

    def reference(self, reference: Reference, stand_in: bool) -> None:
        """Take code of its own where it is trusted; else it stays behind or, without a `stand_in`, is a problem."""
        here = reference.repository is None and reference.file in self.names
        package = reference.of.startswith("the module") and not here and reference.repository is None
        shown = reference.file if here else reference.text
        if here:
            self.spoken.add(reference.file)
        if not self.trusted:
            if stand_in:
                self.found.untrusted[shown] = reference.of
            else:
                self.found.problems.append(
                    f"{self.name} has code of its own for {reference.of} ({shown}): read it, then give "
                    "--trust-remote-code to take it into the export."
                )
        elif reference.repository or package:
            self.found.elsewhere[reference.repository or reference.text] = reference.of
        elif not here:
            self.found.problems.append(
                f"{self.name} names code of its own for {reference.of} that is not there ({reference.file}): put the "
                "file there, or take its entry out of auto_map."
            )
        else:
            code, data = closure(reference.file, self.names, self.read)
            for file in code:
                self.take(file, f"the code of {reference.of}")
                self.found.code[file] = reference.of
            for file in data:
                self.take(file, f"read by {reference.file}")

    def named(self, values: Any, folder: str, by: str) -> None:
        """Take the files that a configuration names in any of its texts."""
        if isinstance(values, str) and not values.endswith(".py"):
            self.take(posixpath.normpath(posixpath.join(folder, values)), f"named by {by}")
        elif isinstance(values, (dict, list)):
            for value in values.values() if isinstance(values, dict) else values:
                self.named(value, folder, by)

    def take_all(self, patterns: Collection[str], why: str) -> None:
        """Take every file that a pattern names."""
        for pattern in patterns:
            for name in self.matching(pattern):
                self.take(name, why)

    def matching(self, pattern: str) -> list[str]:
        """The names that a pattern stands for; its stars stand for no slash."""
        folder = posixpath.dirname(pattern)
        names = self.names if "*" in pattern else self.names & {pattern}
        return sorted(n for n in names if posixpath.dirname(n) == folder and fnmatch(n, pattern))

    def take(self, name: str, why: str) -> None:
        """Take a file, if it is there, unless it is hidden, a pickle, or one that an export has of its own."""
        hidden = any(part.startswith(".") for part in name.split("/"))
        others = "/" not in name and any(fnmatch(name, p) for p in _EXPECTED)
        if name in self.names and not hidden and not others and not name.endswith((*PICKLES, *_OTHER_FORMATS)):
            self.found.files.setdefault(name, why)

    def json(self, name: str) -> dict[str, Any]:
        """A JSON object; empty where there is no such file."""
        values = self.load(name) if name in self.names else {}
        if not isinstance(values, dict):
            raise FactcliError(f"{name} of {self.name} is not a JSON object.")
        return values

    def load(self, name: str) -> Any:
        try:
            return json.loads(self.read(name))
        except ValueError as error:
            raise FactcliError(f"{name} of {self.name} cannot be read as JSON: {error}") from error


def _vocabulary_of(class_name: Any) -> list[str]:
    """The names of the vocabulary files of a tokenizer class of transformers."""
    for name in (str(class_name), str(class_name).removesuffix("Fast")):
        try:
            named = getattr(getattr(transformers, name, None), "vocab_files_names", None)
        except ImportError:  # a package that the class needs is not installed
            continue
        if isinstance(named, dict):
            return [str(n) for n in named.values() if n]
    return []
