"""`python -m dujiang` is the command `dujiang`."""

from dujiang.cli.main import app

if __name__ == "__main__":
    app()
