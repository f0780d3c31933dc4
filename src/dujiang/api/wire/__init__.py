"""The two public formats of a chat call, as pure functions: parse a body, render chunks, render an error."""
