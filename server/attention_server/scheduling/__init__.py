"""Decides when a request runs. Knows neither gRPC nor ONNX Runtime."""
