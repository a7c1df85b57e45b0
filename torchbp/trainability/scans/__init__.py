"""Variances over random weights, by size: how they are drawn, estimated, fitted, kept."""
