"""What makes the documentation: pages from the code and from the results, and what holds numbers to their files."""
