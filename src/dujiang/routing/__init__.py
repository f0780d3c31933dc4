"""Which model serves a call, and why."""
