"""Will it train? Answers before the first step: scaling of variances, entanglement, landscapes."""

__all__: list[str] = []
