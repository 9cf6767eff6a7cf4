"""Run where factcli is not: embed real sentences with one model, as PyTorch or OpenVINO runs it, and time it.

python embed.py torch MODEL EMBEDDINGS.npy | python embed.py openvino MODEL_DIRECTORY FILE.xml EMBEDDINGS.npy
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

BATCH, LENGTH, ROUNDS = 8, 128, 20
Inputs = dict[str, NDArray[np.int64]]
Run = Callable[[Inputs], NDArray[np.float32]]


def with_torch(model_path: str) -> Run:
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(model_path, trust_remote_code=True).eval()

    def run(inputs: Inputs) -> NDArray[np.float32]:
        with torch.inference_mode():
            given = {name: torch.from_numpy(values) for name, values in inputs.items()}
            return model(**given).last_hidden_state.numpy()

    return run


def with_openvino(file: str) -> Run:
    import openvino

    model = openvino.compile_model(file, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    return lambda inputs: model(inputs)["last_hidden_state"]


def main() -> None:
    assert importlib.util.find_spec("factcli") is None
    kind, folder, *files, out = sys.argv[1:]
    run = with_torch(folder) if kind == "torch" else with_openvino(files[0])
    tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    tokenizer.enable_truncation(max_length=LENGTH)
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
    found = []
    sentences, _ = review_sentences()
    for start in range(0, len(sentences), BATCH):
        texts = tokenizer.encode_batch(sentences[start : start + BATCH])
        names = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
        inputs = {k: np.array([getattr(text, v) for text in texts], dtype=np.int64) for k, v in names.items()}
        mask = inputs["attention_mask"][..., None]
        found.append((run(inputs) * mask).sum(1) / mask.sum(1))
    embeddings = np.concatenate(found)
    np.save(out, embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True))
    ids = np.random.default_rng(0).integers(1000, 30000, (BATCH, LENGTH))
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        run(inputs)
        times.append(1000 * (time.perf_counter() - started))
    print(json.dumps({"ms": statistics.median(times[ROUNDS // 4 :])}))


if __name__ == "__main__":
    main()
