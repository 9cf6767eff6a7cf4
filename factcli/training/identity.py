"""What makes a run the run that it is: by content, not by names, so that no other one is continued in its place."""

from typing import Any

from ..card.provenance import calibrated_on, versions
from ..files.digests import digest_of_features, digest_of_values
from ..models.model import find_model
from ..recipe.fields import spelled
from .job import Job
from .run import processes


def identity(job: Job) -> dict[str, Any]:
    """All that must be the same for a run to be continued, but for its seed."""
    settings, recipe = job.settings, job.recipe
    validation = [digest_of_values(map(str, job.validation[name])) for name in sorted(job.validation.column_names)]
    models = {name: getattr(settings, name) for name in ("teacher", "mixed_with")}
    return {
        "training": {k: v for k, v in settings.to_dict(**job.known).items() if k != "seed"},
        "recipe": {k: v for k, v in recipe.to_dict().items() if k != "dtype"} if recipe else {},  # of what is saved
        "source": job.source.digest,
        "the training data": digest_of_features(job.train),
        "the validation data": digest_of_values(validation),
        "the names of the labels": {"classes": list(job.task.labels), "outputs": job.outputs, "head": job.keep_head},
        "the calibration data": calibrated_on(recipe, job.data_dir) if recipe and not job.source.factorized else None,
        **{f"the model of {spelled(name)}": _digest(job, model) for name, model in models.items() if model is not None},
        "versions": versions(),
        "the number of processes": processes(),
    }


def _digest(job: Job, name: str) -> str:
    return find_model(name, None, job.trust_remote_code, accept_factorized=True).digest
