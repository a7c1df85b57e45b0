"""How often verdicts that rest on such evidence were right."""

from __future__ import annotations

from torchbp.diagnosis.evidence import Evidence
from torchbp.diagnosis.verdicts import Verdict

RIGHT = {
    Verdict.HEALTHY: 0.95,
    Verdict.BARREN_PLATEAU: 0.95,
    Verdict.SHOT_LIMITED: 0.9,
    Verdict.NOISE_INDUCED: 0.95,
    Verdict.LOCAL_MINIMUM: 0.75,
    Verdict.CONVERGED: 0.85,
    Verdict.OSCILLATING: 0.75,
    Verdict.DRIFTING: 0.97,
    Verdict.DEAD_LAYER: 0.97,
    Verdict.DIVERGING: 0.97,
    Verdict.NOT_TRAINED: 0.97,
    Verdict.UNDECIDED: 0.5,
}
"""Share of such verdicts that were right, on PlateauBench's development half."""


def confidence(verdict: Verdict, evidence: Evidence) -> float:
    """The probability that a verdict on this evidence is right."""
    return RIGHT[verdict]
