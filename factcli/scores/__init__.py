"""Scores and where they are kept."""
