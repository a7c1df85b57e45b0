"""Pauli strings: as integers, as arrays of words, and how a circuit acts on them."""
