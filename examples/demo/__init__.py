"""A look at what one trained character attends to: ``python -m examples.demo``."""
