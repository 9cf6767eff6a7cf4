"""A smaller vocabulary: tokens that the user's texts do not use go, from the tokenizer and from the model alike."""
