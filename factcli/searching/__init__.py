"""The smallest model that loses no more than it may: candidates, what chooses among them, what is then reported."""
