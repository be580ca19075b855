"""Trained models to ONNX, with their state."""
