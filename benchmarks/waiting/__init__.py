"""The parts of ``benchmarks/triggerer.py``."""
