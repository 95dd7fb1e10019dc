"""Runs attention in ONNX Runtime: the one place that knows it. Holds no state of requests."""
