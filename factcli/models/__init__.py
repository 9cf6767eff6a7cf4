"""Models as directories: what their files are, and what goes from one into another."""
