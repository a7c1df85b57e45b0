"""Gradient statistics of a model's layers, and the sources of their samples."""
