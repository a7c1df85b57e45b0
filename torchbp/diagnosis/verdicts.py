"""What can be said of a run: verdicts, what each asks to be done, and how a diagnosis reads."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from enum import Enum

from torchbp.diagnosis.layer_words import in_words
from torchbp.gradients.stats import RESOLVED


class Verdict(str, Enum):
    """What a run suffers from, if anything; and two that say why nothing is said."""

    HEALTHY = "healthy"
    BARREN_PLATEAU = "barren_plateau"
    SHOT_LIMITED = "shot_limited"
    NOISE_INDUCED = "noise_induced"
    LOCAL_MINIMUM = "local_minimum"
    CONVERGED = "converged"
    OSCILLATING = "oscillating"
    DRIFTING = "drifting"
    DEAD_LAYER = "dead_layer"
    DIVERGING = "diverging"
    NOT_TRAINED = "not_trained"
    UNDECIDED = "undecided"

    @property
    def is_fine(self) -> bool:
        """Whether nothing is known to be wrong."""
        return self in (Verdict.HEALTHY, Verdict.CONVERGED, Verdict.NOT_TRAINED, Verdict.UNDECIDED)


ADVICE = {
    Verdict.HEALTHY: "Nothing to do.",
    Verdict.BARREN_PLATEAU: (
        "Start elsewhere (initializers gaussian, identity_blocks), grow the circuit layer by layer, measure a local "
        "instead of a global observable, or take fewer layers; gradient-free optimizers don't escape a barren plateau "
        "(Arrasmith 2021)."
    ),
    Verdict.SHOT_LIMITED: "Take more shots, or observables that share measurement settings.",
    Verdict.NOISE_INDUCED: (
        "Take fewer layers, or mitigate the noise; another initialization doesn't help, as the plateau is the noise's "
        "and deepens with the circuit (Wang 2021)."
    ),
    Verdict.LOCAL_MINIMUM: "Restart from other weights, or perturb these: other starts get lower.",
    Verdict.CONVERGED: "Stop: there is nothing left to gain.",
    Verdict.OSCILLATING: "Lower the learning rate.",
    Verdict.DRIFTING: "Recalibrate, and measure the baseline anew before judging any gradient.",
    Verdict.DEAD_LAYER: "Take these weights out, measure a wire they reach, or connect them to one that is measured.",
    Verdict.DIVERGING: "Stop, go back to the last good weights, and lower the learning rate.",
    Verdict.NOT_TRAINED: "If it should be trained, set requires_grad and give its parameters to an optimizer.",
    Verdict.UNDECIDED: "Wait: it is looked at again.",
}


@dataclass(frozen=True)
class Finding:
    """One thing found out about some layers.

    Attributes:
        verdict: what they suffer from.
        layers: their names; empty for the whole model.
        evidence: what it rests on, one short sentence each.
    """

    verdict: Verdict
    layers: tuple[str, ...]
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class Diagnosis:
    """A verdict, how probable it is, what it rests on, and what to do.

    Attributes:
        verdict: the one to act on.
        confidence: how often verdicts that rest on such evidence were right in PlateauBench's development half, 0 to 1.
        evidence: one short sentence for each experiment or number used; the first carries the verdict.
        advice: what to do.
        layers: the layers concerned; empty for the whole model.
        shots_to_resolve: shots for each circuit at which the gradient's SNR would be 3; None where that was not
            measured, or no number would do.
        onset: the first step from which the evidence held; None where that is not known.
        findings: everything else that was found.
        every: names of all the circuit layers that there are.
    """

    verdict: Verdict
    confidence: float
    evidence: tuple[str, ...]
    advice: str
    layers: tuple[str, ...] = ()
    shots_to_resolve: float | None = None
    onset: int | None = None
    findings: tuple[Finding, ...] = ()
    every: tuple[str, ...] = ()

    def shots_for(self, snr: float) -> float:
        """Shots for each circuit at which the gradient's SNR would be this; NaN where that is not known."""
        return math.nan if self.shots_to_resolve is None else self.shots_to_resolve * (snr / RESOLVED) ** 2

    def to_be_confirmed(self) -> Diagnosis:
        """The same, as long as it was found only once."""
        text = f"{self.verdict.value.replace('_', ' ')} by a first look, which a second one has to confirm"
        advice = ADVICE[Verdict.UNDECIDED]
        return replace(self, verdict=Verdict.UNDECIDED, evidence=(text, *self.evidence), advice=advice, confidence=0.5)

    def dumps(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self) | {"verdict": self.verdict.value}, default=str)

    @classmethod
    def loads(cls, text: str) -> Diagnosis:
        """What `dumps` has written."""
        saved = json.loads(text)
        findings = tuple(
            Finding(Verdict(f["verdict"]), tuple(f["layers"]), tuple(f["evidence"])) for f in saved["findings"]
        )
        lists = {name: tuple(saved[name]) for name in ("evidence", "layers", "every")}
        return cls(**saved | lists | {"verdict": Verdict(saved["verdict"]), "findings": findings})

    def __str__(self) -> str:
        """One sentence."""
        name = self.verdict.value.replace("_", " ").capitalize()
        where = f" in {self._words(self.layers)}" if self.layers else ""
        since = "" if self.onset is None or self.verdict.is_fine else f" since step {self.onset}"
        return f"{name}{where}{since} ({self.confidence:.0%} sure): {self.evidence[0]}."

    def _words(self, layers: tuple[str, ...]) -> str:
        return in_words(layers, self.every or layers)

    @property
    def details(self) -> str:
        """All of it: the sentence, the rest of the evidence, other findings, and the advice."""
        others = [
            f"{f.verdict.value.replace('_', ' ')} in {self._words(f.layers)}: {'; '.join(f.evidence)}"
            for f in self.findings
        ]
        rest = [f"{text}." for text in (*self.evidence[1:], *others)]
        return " ".join([str(self), *(f"{text[0].upper()}{text[1:]}" for text in rest), self.advice])
