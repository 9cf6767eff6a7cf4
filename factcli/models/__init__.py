"""Models as they lie on disk: their weight files, and the precision of every tensor."""
