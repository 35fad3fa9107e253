"""What the project costs in time and memory, measured: `python -m benchmarks NAME` (see README.md here)."""

import os

# Read when torch starts its threads. Spinning ones would measure whatever else the machine is doing.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
