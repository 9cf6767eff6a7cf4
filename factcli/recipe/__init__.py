"""What can be asked: one field an option."""
