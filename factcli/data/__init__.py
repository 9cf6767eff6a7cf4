"""What is learnt from: GLUE, tables in files, data sets of the Hub, and the names of their labels."""
