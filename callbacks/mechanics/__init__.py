"""What remedies share and what knows no verdicts: weights, losses elsewhere, ways back, shots."""
