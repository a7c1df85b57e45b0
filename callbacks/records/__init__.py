"""What is written down of a run: measurements, events, and how loggers get them."""
