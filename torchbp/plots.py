"""Figures of what the core measures. The only file that draws; matplotlib is imported when something is drawn."""
