"""Circuits of Qiskit, and networks of Qiskit Machine Learning, as circuits of torchbp."""
