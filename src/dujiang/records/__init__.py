"""Call records: one for every call, whatever became of it."""
