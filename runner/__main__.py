"""``python -m runner``: the same as the ``runner`` command."""

from runner.cli.main import entry

if __name__ == "__main__":
    entry()
