"""The commands: one function each, which reads from top to bottom."""
