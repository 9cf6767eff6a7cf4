"""The command line: it declares options, calls the library and prints."""

from .app import main

__all__ = ["main"]
