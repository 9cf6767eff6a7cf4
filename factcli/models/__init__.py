"""Models as they come: what they can take, and what an export remembers."""
