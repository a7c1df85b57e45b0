"""From measurements to a verdict: experiments, evidence, rules."""
