"""The embedded model: where its file comes from, where it lies, and the process that runs it."""
