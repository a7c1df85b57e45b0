"""The development half: what rules may be written and thresholds chosen by."""

from benchmarks.plateaubench.scenarios.dev import descents, ends, plateaus, untrained

SCENARIOS = (*descents.SCENARIOS, *plateaus.SCENARIOS, *ends.SCENARIOS, *untrained.SCENARIOS)
