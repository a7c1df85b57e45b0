"""The test half: what numbers are reported on. Rules and thresholds are not to be chosen by looking at it."""

from benchmarks.plateaubench.scenarios.test import descents, ends, plateaus, untrained

SCENARIOS = (*descents.SCENARIOS, *plateaus.SCENARIOS, *ends.SCENARIOS, *untrained.SCENARIOS)
