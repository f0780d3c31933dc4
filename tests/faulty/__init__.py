"""The fault matrix: what the gateway does while vendors fail, measured. One module for each kind of fault."""
