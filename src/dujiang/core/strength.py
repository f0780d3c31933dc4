"""Whether a secret that a person chose could be guessed."""

MIN_DIFFERENT_CHARACTERS = 5

_EXAMPLES = (
    "changeme",
    "changethis",
    "replaceme",
    "example",
    "placeholder",
    "password",
    "youradminkey",
    "yourkey",
    "yoursecret",
)


def weakness(secret: str, *, least: int, most: int) -> str | None:
    """What is wrong with `secret`, to follow its name in a sentence; None when nothing is. Never repeats it.

    `least` and `most` are characters.
    """
    plain = "".join(filter(str.isalnum, secret)).lower()
    if not least <= len(secret) <= most:
        return f"must have {least} to {most} characters"
    if not all("!" <= character <= "~" for character in secret):
        return "may hold only printable ASCII characters and no spaces (a line break at the end counts)"
    if len(set(secret)) < MIN_DIFFERENT_CHARACTERS:
        return "repeats a few characters: anybody could guess it"
    if any(example in plain for example in _EXAMPLES):
        return "looks like an example value from a document"
    return None
