"""Configurations that are generated, of every architecture and head."""

from typing import Any

import transformers
from hypothesis import assume
from hypothesis import strategies as st

from .. import tiny

ODD_VALUES = st.sampled_from([None, -1, 0, 3, 1.5, "wide", "", [], {}, True, 10**12])
ODD_KEYS: dict[str, st.SearchStrategy[Any]] = {
    "architectures": st.sampled_from([None, [], "BertModel", ["NoSuchModel"], ["BertModel", "x"], [None], {}]),
    "model_type": st.sampled_from([None, "", "bert", "gpt2", "t5", "factorized_bert", 3, "clip"]),
    "dtype": st.sampled_from(["float32", "bfloat16", "torch.float16", "int8", "x", 3, None]),
    "torch_dtype": st.sampled_from(["float32", "x", 3]),
    "auto_map": st.sampled_from([{}, {"AutoModel": "m.M"}, "x", None, {"AutoConfig": "other/repo--m.C"}]),
    "quantization_config": st.sampled_from([{}, None, {"bits": 4}]),
    "attn_implementation": st.sampled_from(["sdpa", "flash_attention_2", "x"]),
    "_attn_implementation": st.sampled_from(["eager", "flash_attention_2", "x"]),
    "id2label": st.sampled_from([{}, {"0": "a"}, {"x": "a"}, ["a", "b"], None, {"0": 1, "1": 2}]),
    "num_labels": st.sampled_from([1, 3, 0, -1, "x"]),
    "tie_word_embeddings": st.sampled_from([True, False, None, "x"]),
    "pad_token_id": st.sampled_from([None, 0, 5000, -1, "x", [0]]),
    "rope_scaling": st.sampled_from([None, {}, {"type": "linear", "factor": 2.0}, "x"]),
    "_name_or_path": st.sampled_from(["/home/someone/model", 3]),
    "transformers_version": st.sampled_from(["9.9.9", "x", 3]),
    "anything": st.sampled_from(["x", 3, None, [1], {"a": {}}]),
    "factorization": st.sampled_from([{}, None, {"format_version": 1}, {"format_version": 99, "layers": []}, "x"]),
}
WIDTHS = st.sampled_from([8, 12, 16, 24, 32])
SIZES = {
    "hidden_size": WIDTHS, "intermediate_size": WIDTHS, "num_hidden_layers": st.integers(1, 3), "dim": WIDTHS,
    "hidden_dim": WIDTHS, "n_layers": st.integers(1, 3), "d_model": WIDTHS, "d_ff": WIDTHS,
    "num_layers": st.integers(1, 3),
    "n_embd": WIDTHS, "n_layer": st.integers(1, 3), "encoder_layers": st.integers(1, 3),
    "decoder_layers": st.integers(1, 3),
    "encoder_ffn_dim": WIDTHS, "vocab_size": st.sampled_from([40, 99, 1000]), "embedding_size": WIDTHS,
}  # fmt: skip


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    """A config.json: of any architecture and head, of other sizes, with keys that are odd or missing."""
    kind = draw(st.sampled_from(sorted(tiny.CONFIGS)))
    class_name, values = tiny.CONFIGS[kind]
    sizes = {k: draw(SIZES[k]) for k in values if k in SIZES and draw(st.booleans())}
    try:
        config: dict[str, Any] = getattr(transformers, class_name)(**(values | sizes)).to_dict()
    except Exception:  # sizes that transformers refuses by itself
        assume(False)
        raise
    config["architectures"] = [draw(st.sampled_from(tiny.heads(kind)))]
    for _ in range(draw(st.integers(0, 2))):
        change = draw(st.sampled_from(["key", "value", "gone"]))
        if change == "key":
            key = draw(st.sampled_from(sorted(ODD_KEYS)))
            config[key] = draw(ODD_KEYS[key])
        else:
            key = draw(st.sampled_from(sorted(config)))
            if change == "gone":
                config.pop(key)
            elif "layer" not in key or not isinstance(config[key], int):  # a million layers would only take long
                config[key] = draw(ODD_VALUES)
    return config
