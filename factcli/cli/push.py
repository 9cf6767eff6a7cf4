"""factcli push."""

from typing import Annotated

import typer

from . import console
from . import options as o


def command(
    folder: Annotated[str, typer.Argument(metavar="DIRECTORY", help="What convert or finetune wrote.")],
    repo_id: Annotated[
        str | None, typer.Argument(metavar="REPO_ID", help="OWNER/NAME; default: the directory's name, below you.")
    ] = None,
    commit_message: Annotated[str | None, typer.Option("--commit-message", "-m", help="Of the one commit.")] = None,
    revision: Annotated[str | None, typer.Option("--revision", help="The branch; made if need be.")] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead.")] = False,
    tag: Annotated[str | None, typer.Option("--tag", help="A name for the commit, which the card then loads.")] = None,
    private: o.PrivateOption = None,
    keep_readme: Annotated[
        bool, typer.Option("--keep-readme", help="Leave the repository's README.md; default: our part goes into it.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the files and send nothing.")] = False,
    as_json: o.JsonOption = False,
    quiet: o.QuietOption = False,
    verbose: o.VerboseOption = False,
) -> None:
    """Publish a model on the Hugging Face Hub, in one commit."""
    with console.importing():
        from ..hub.publish import push

        console.quiet_libraries(verbose, bars=not (quiet or as_json))
    result = push(
        folder, repo_id, commit_message=commit_message, revision=revision, create_pr=create_pr, tag=tag,
        private=private, keep_readme=keep_readme, dry_run=dry_run,
    )  # fmt: skip
    if as_json:
        console.result(result)
        return
    if dry_run:
        for file in result["files"]:
            console.line(file)
    if not quiet:
        for file in result["left_out"]:
            console.note(f"Left out: {file}")
    if not dry_run:
        console.pushed(result, quiet)
