"""The HTTP edge: requests in, answers out, nothing decided here that a stage can decide."""
