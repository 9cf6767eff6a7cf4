"""The Hugging Face Hub: what comes from it, what goes to it."""
