"""Options of export without an effect."""

from ..recipe.rules import Rule, unless

_LABELLED = ("task", "validation")


RULES = (
    Rule(
        ("split", "limit", "label_names", "label_column", "text_to_text", "batch_size"),
        lambda v: unless(any(v[name] is not None for name in _LABELLED), "without --task or --validation"),
        "give one of them",
    ),
    Rule(
        ("text_column", "max_length", "data_dir", "data_revision"),
        lambda v: unless(
            any(v[name] is not None for name in (*_LABELLED, "calibration")),
            "without --task, --validation or --calibration",
        ),
        "give one of them",
    ),
    Rule(
        ("calibration_samples",),
        lambda v: unless(v["calibration"] is not None, "without --calibration"),
        "give --calibration",
    ),
    Rule(
        ("split",),
        lambda v: unless(v["validation"] is None, "with --validation, a file of your own"),
        "give --task",
    ),
)
