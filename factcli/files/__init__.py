"""Directories and files, written whole or not at all; what is ours in them."""
