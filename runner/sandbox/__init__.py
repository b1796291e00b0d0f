"""Where a step runs: one protocol, several drivers, one PID 1."""
