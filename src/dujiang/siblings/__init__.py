"""The processes of one server, asked for one answer: a line to each from the parent, and what goes over it."""
