"""A circuit judged before its first training step."""
