"""push: an export to a repository on the Hub, in one commit."""

from pathlib import Path
from typing import Any

from ..publishing.publish import publish
from ..recipe.commands import PUSH, Asked, answers
from ..recipe.running import Pushing


@answers(PUSH)
def push(asked: Asked) -> dict[str, Any]:
    """Publish the model in `folder` as `repo_id` (by default YOU/FOLDER), everything in one commit.

    Returns:
        The object of --json, with repo_id, commit (None in a dry run), url, files (what the repository has
        from us), left_out, and `changed`, False where the repository had it all already.

    Raises:
        UsageError: Options that do not fit together.
        FactcliError: No whole model, no right to write, or a Hub that does not answer. The repository is then as
            before: nothing is seen of a commit that is not whole.
    """
    how = asked.of(Pushing)
    return publish(Path(how.folder), how)
