"""Measures the server beside its rivals: ``python -m bench``, see docs/performance.md."""
