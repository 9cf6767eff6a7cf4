"""What goes to the Hub: the files of a model, in one commit."""
