"""What a repository has, or has instead of weights that can be read."""

import re

WEIGHTS = "model.safetensors"
ADAPTER = "adapter_config.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
NOT_WEIGHTS = ("training_args", "optimizer", "scheduler", "rng_state", "scaler")  # what Trainer pickles beside them
OTHER_FRAMEWORKS = (".h5", ".msgpack", ".gguf", ".onnx", ".tflite", ".npz")


def no_weights(name: str, names: set[str]) -> str:
    """Why none of the files `names` are weights that can be read."""
    variants = sorted(n for n in names if re.fullmatch(r"model\.[\w-]+\.safetensors|.*index\.[\w-]+\.json", n))
    if ADAPTER in names:
        return (
            f"{name} is an adapter, not a model: merge it into its base model first (merge_and_unload of PEFT), and "
            "give the directory that is saved then."
        )
    if variants:
        kind = variants[0].split(".")[-2]
        return (
            f"{name} has weights as the variant {kind!r} only ({variants[0]}): load them with from_pretrained(…, "
            f'variant="{kind}") and give what save_pretrained writes.'
        )
    pickles = sorted(n for n in names if n.endswith(PICKLES) and not n.startswith(NOT_WEIGHTS))
    if pickles:
        return (
            f"{name} has only pickled weights ({pickles[0]}), which are not read: load them where you trust them, and "
            "give what save_pretrained writes, or a revision with model.safetensors."
        )
    others = sorted(n for n in names if n.endswith(OTHER_FRAMEWORKS))
    if others:
        return f"{name} has weights of another format only ({others[0]}): give a model with {WEIGHTS}."
    tensors = sorted(n for n in names if n.endswith(".safetensors"))
    if tensors:
        return (
            f"{name} has {tensors[0]} but no {WEIGHTS}: load it as its maker says, and give what save_pretrained "
            "writes."
        )
    return f"{name} has no weights: {WEIGHTS} is missing."
