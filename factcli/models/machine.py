"""What configuration files say of the machine they were made on: no part of a model."""

import copy
from collections.abc import Collection
from typing import Any

# What computes attention or experts there; another machine may not have it, and some names are fetched and run.
IMPLEMENTATIONS = frozenset({
    "attn_implementation", "_attn_implementation", "_attn_implementation_internal", "_attn_implementation_autoset",
    "_flash_attn_2_enabled", "experts_implementation", "_experts_implementation", "_experts_implementation_internal",
})  # fmt: skip
# Where it lay there; the files for other versions, of which one is read; and code for the model, which none carries.
_PLACES = frozenset({"_name_or_path", "_commit_hash", "configuration_files", "auto_map"})
_PLACES_OF_TOKENIZERS = frozenset({
    "name_or_path", "_commit_hash", "cache_dir", "is_local", "local_files_only", "special_tokens_map_file",
    "tokenizer_config_file", "added_tokens_file", "tokenizer_file", "vocab_file", "merges_file", "spm_file",
})  # fmt: skip


def without_implementations(config: dict[str, Any]) -> dict[str, Any]:
    """A config.json that leaves the choice of kernels to whoever loads it, in its parts too."""
    return _without(copy.deepcopy(config), IMPLEMENTATIONS)


def portable_config(config: dict[str, Any]) -> dict[str, Any]:
    """A config.json without what belongs to the machine it was made on, in its parts too."""
    return _without(config, IMPLEMENTATIONS | _PLACES)


def portable_tokenizer(config: dict[str, Any], carried: Collection[str]) -> dict[str, Any]:
    """A tokenizer_config.json without places of the machine it was made on. Names of files that are `carried` stay."""
    return {k: v for k, v in config.items() if k not in _PLACES_OF_TOKENIZERS or (isinstance(v, str) and v in carried)}


def _without(values: dict[str, Any], keys: Collection[str]) -> dict[str, Any]:
    return {k: _without(v, keys) if isinstance(v, dict) else v for k, v in values.items() if k not in keys}
