"""Training: a factorized model back to strength. transformers.Trainer inside; what is ours is the staging."""
