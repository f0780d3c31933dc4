"""The configuration document: its tree of settings, how it is read, checked and shown."""
