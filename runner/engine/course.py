"""The run as a whole: its status, its time, its turn, and what somebody asked of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.engine.steps import HELD, RUNNING

if TYPE_CHECKING:
    from runner import events as happened
    from runner.planning.plan import Plan


class Course:
    """What is known beside the steps; times are seconds since 1970.

    ``cancels`` counts requests to end, ``expired`` says that its own timeout passed, ``parked`` that only a
    person can bring it on, ``undone_later`` that it is rolled back after its end. ``has_turn`` is True while
    it has its place in its concurrency group, ``entered`` once it ever had. ``used`` are the seconds of its
    timeout that runners before this one took; ``seq`` is the number of the last record.
    """

    def __init__(self, plan: Plan) -> None:
        """Begin before the first record."""
        self.plan = plan
        self.created: happened.RunCreated | None = None
        self.status = "queued"
        self.detail = ""
        self.started: float | None = None
        self.ended: float | None = None
        self.cancels = 0
        self.cancel_why = ""
        self.failed = False
        self.expired = False
        self.rollback_asked = False
        self.undone_later = False
        self.parked = False
        self.successor = ""
        self.has_turn = self.entered = plan.turns is None
        self.began: float | None = None
        self.used = 0.0
        self.last_at = 0.0
        self.seq = 0

    @property
    def over(self) -> bool:
        """Whether the run has its last status."""
        return self.ended is not None

    def create(self, event: happened.RunCreated, _: float) -> None:
        """Take note of how the run was made."""
        self.created = event

    def begin(self, _: happened.RunStarted, at: float) -> None:
        """Take note of a runner that drives it from now on; its turn has to be taken anew."""
        if self.began is not None and not self.parked and not self.over:  # the runner before died
            self.used += max(0.0, self.last_at - self.began)  # who noted something may have a slower clock
        self.status, self.detail, self.ended, self.parked = RUNNING, "", None, False
        self.has_turn = self.plan.turns is None
        self.started = at if self.started is None else self.started
        self.began = at

    def cancel(self, event: happened.CancelRequested, _: float) -> None:
        """Take note of a request to end."""
        asks_for_more = event.rollback and not self.rollback_asked
        self.cancels += not self.cancels or (event.insist and not asks_for_more)
        self.cancel_why = self.cancel_why or event.why
        self.rollback_asked = self.rollback_asked or event.rollback

    def await_turn(self, _: happened.TurnAwaited, __: float) -> None:
        """Take note that others are ahead."""
        self.status = "waiting"

    def take_turn(self, _: happened.TurnTaken, at: float) -> None:
        """Take note of its place in the group; its time runs from now."""
        self.used = self.used if self.entered else 0.0
        self.status, self.has_turn, self.entered, self.began = RUNNING, True, True, at

    def expire(self, _: happened.RunExpired, __: float) -> None:
        """Take note that its time is up."""
        self.expired = self.failed = True

    def park(self, event: happened.RunHeld, at: float) -> None:
        """Take note that it waits for a person; its time stands still."""
        self.status, self.detail, self.parked = HELD, event.detail, True
        self.used += at - (self.began if self.began is not None else at)

    def continue_elsewhere(self, event: happened.RunRetried, _: float) -> None:
        """Take note of the run that goes on from this one."""
        self.successor = event.by

    def end(self, event: happened.RunEnded, at: float) -> None:
        """Take the last status."""
        self.status, self.detail, self.ended = event.status, event.detail, at
