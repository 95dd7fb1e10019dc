"""A page to explore attention, with nothing to prepare: ``python -m examples.explore``."""
