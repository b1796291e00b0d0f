"""The one error of expressions."""

from __future__ import annotations

from runner.errors import RunnerError


class ExpressionError(RunnerError):
    """An expression is wrong or too large; ``column`` counts from 1 within its text, 0 means all of it."""

    exit_code = 2

    def __init__(self, message: str, column: int = 0) -> None:
        """Keep what is wrong and where."""
        super().__init__(message)
        self.column = column
