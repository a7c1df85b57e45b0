"""A change that may be for the worse: where to, how it is judged, and the way back."""
