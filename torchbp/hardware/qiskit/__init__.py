"""Circuits as Qiskit has them: to it, from it, through files, and in a machine's gates."""
