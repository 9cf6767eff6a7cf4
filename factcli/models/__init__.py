"""Models as directories: what their files are, what they can take, and what goes from one into another."""
