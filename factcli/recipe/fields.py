"""An option: one field of a group. Everything else about it is made from that."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Options(BaseModel):
    """A group of options, or several groups put together."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True, validate_default=False)


def option(
    default: Any,
    help: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
) -> Any:
    """Declares a field: its default, the line of help, and its range."""
    return Field(default, description=help, ge=ge, gt=gt, le=le, lt=lt)
