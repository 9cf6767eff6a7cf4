"""The model card: README.md of an export."""
