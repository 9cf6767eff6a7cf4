"""Taggers: words with tags, read, aligned, trained on and scored."""
