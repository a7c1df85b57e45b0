"""Gradient statistics and their sources, and what they mean."""
