"""The two files that every export carries, byte for byte; here they are ordinary modules."""

from pathlib import Path

FILES = tuple(Path(__file__).with_name(name) for name in ("configuration_factorized.py", "modeling_factorized.py"))
