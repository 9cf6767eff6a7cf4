"""The smallest model that loses no more than one may."""
