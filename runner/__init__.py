"""Runner: runs the steps of a workflow, each in an isolated sandbox."""

__version__ = "0.1.0"
