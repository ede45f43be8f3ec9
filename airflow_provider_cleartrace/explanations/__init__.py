"""Calibrated explanations: factual, alternative and fast rules with intervals, for a remote model."""
