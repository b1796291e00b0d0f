"""Whether the parts of a workflow fit together: every rule is a generator of problems.

Reading order: source, graph, paths, hosts, requirements, contexts, values.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from runner.workflow.lint import contexts, graph, hosts, paths, requirements, values

if TYPE_CHECKING:
    from runner.errors import Problem
    from runner.workflow.lint.source import Source

MOST_PROBLEMS = 100
_RULES = (graph.check, paths.check, hosts.check, requirements.check, contexts.check, values.check)


def lint(source: Source) -> list[Problem]:
    """Return all problems and warnings, at most 100 of each rule."""
    return [problem for rule in _RULES for problem in islice(rule(source), MOST_PROBLEMS)]
