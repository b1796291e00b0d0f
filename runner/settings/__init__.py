"""The operator's choices: the environment, the policy file, and what a project may narrow.

``policy.yaml`` (the operator's) and ``runner.yaml`` (the project's) share their keys today::

    defaults: {engine: docker}      # auto | docker | bubblewrap | gvisor
    max_parallel: 4                 # steps at a time; a project can only lower the policy's number
    breakers: {warehouse: {failures: 3, reset: 60s, on_open: fail}}    # or wait; named by steps
    hold_after: 5                   # a workflow that failed so often in a row is held; 0 (the default): never
    rollback_window: 30d            # how long a run that has ended can be undone

Of a number in both files the stricter one counts. The policy alone may hold::

    egress:
      private: ["db.internal:5432"]   # hosts on private addresses that workflows may ask for
      ca: /etc/ssl/corporate.pem      # authorities that are trusted beside the system's
    sources: {…}                      # where secrets come from, see vault/sources/declared
    python:                           # where packages come from (PEP 503), and how large a set may be
      {index: https://pypi.org/simple, files: [https://files.pythonhosted.org], max_bytes: 2GiB}
"""

from __future__ import annotations

from runner.settings.breakers import BreakerRule as BreakerRule
from runner.settings.choices import Choices as Choices
from runner.settings.choices import choices as choices
from runner.settings.choices import declared_sources as declared_sources
from runner.settings.choices import policy_digest as policy_digest
from runner.settings.choices import project_digest as project_digest
from runner.settings.places import Settings as Settings
