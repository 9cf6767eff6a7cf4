"""Sentences that the tests cannot meet on every machine, each with what it takes."""

ELSEWHERE: dict[str, str] = {}
