"""How fast and how large jetsym is on this machine: ``python -m jetsym.benchmarks NAME``."""
