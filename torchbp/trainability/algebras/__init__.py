"""Pauli strings and the dynamical Lie algebras that generators make of them."""
