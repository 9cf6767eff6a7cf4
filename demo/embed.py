"""Run where factcli is not: embed real sentences with models, as PyTorch or OpenVINO runs them, and time each.

python embed.py torch TEXTS TOKENS EMBEDDINGS.npz - DIRECTORY ...
python embed.py openvino TEXTS TOKENS EMBEDDINGS.npz FILE.xml DIRECTORY ...

Writes the embeddings of each, normalized means over tokens as sentence-transformers has them for this model
(sentences, 384), and prints a line of JSON of each: the class that ran, and the median milliseconds of a batch.
"""

import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sentences import review_sentences
from tokenizers import Tokenizer

ROUNDS = 20
NAMES = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
Inputs = dict[str, NDArray[np.int64]]
Run = Callable[[Inputs], NDArray[np.float32]]


def with_torch(folder: str) -> tuple[Run, str]:
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()

    def run(inputs: Inputs) -> NDArray[np.float32]:
        with torch.inference_mode():
            given = {name: torch.from_numpy(values) for name, values in inputs.items()}
            return model(**given).last_hidden_state.numpy()

    return run, f"{type(model).__name__} from {type(model).__module__.split('.')[0]}"


def with_openvino(file: str) -> tuple[Run, str]:
    import openvino

    model = openvino.compile_model(file, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    return lambda inputs: model(inputs)["last_hidden_state"], type(model).__name__


def embed(run: Run, folder: str, batch: int, length: int) -> NDArray[np.float32]:
    tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    tokenizer.enable_truncation(max_length=length)
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
    sentences, _ = review_sentences()
    found = []
    for start in range(0, len(sentences), batch):
        texts = tokenizer.encode_batch(sentences[start : start + batch])
        inputs = {k: np.array([getattr(text, v) for text in texts], dtype=np.int64) for k, v in NAMES.items()}
        mask = inputs["attention_mask"][..., None]
        found.append((run(inputs) * mask).sum(1) / mask.sum(1))
    embeddings = np.concatenate(found)
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def milliseconds(run: Run, batch: int, length: int) -> float:
    ids = np.random.default_rng(0).integers(1000, 30000, (batch, length))
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        run(inputs)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[ROUNDS // 4 :])


def main() -> None:
    assert importlib.util.find_spec("factcli") is None
    kind, batch, length, out, file, *folders = sys.argv[1:]
    shape = int(batch), int(length)
    found = {}
    for number, folder in enumerate(folders):
        run, said = with_torch(folder) if kind == "torch" else with_openvino(str(Path(folder) / file))
        found[str(number)] = embed(run, folder, *shape)
        print(json.dumps({"class": said, "ms": milliseconds(run, *shape)}), flush=True)
    np.savez(out, **found)


if __name__ == "__main__":
    main()
