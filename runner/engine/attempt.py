"""One attempt of one step, from opened secrets to kept results, in its own sandbox."""

from __future__ import annotations

import shutil
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from runner.engine.outputs import OUTPUT_FILE
from runner.engine.pump import Pump
from runner.engine.results import Leaks, Results
from runner.errors import PolicyDenied, SandboxError, SourceUnavailable, StoreError
from runner.events import PHASE_RUN, AttemptEnded, AttemptStarted, ConnectionEnded
from runner.sandbox.base import Exit, Message, SecretValue
from runner.sandbox.packages import variables

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from runner.engine.ports import MaskerPort, Observer, SecretPort, Stores, WayPort, Work
    from runner.planning.plan import PlannedStep
    from runner.sandbox.base import Collection as Collected
    from runner.sandbox.base import Sandbox, SandboxSpec
    from runner.sandbox.egress.rules import Connection

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_GLOB = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Task:
    """An attempt to make: ``env`` is filled in, ``inputs`` maps names under ``/in`` to files on the host.

    ``step`` is the compensation where the phase of ``spec`` says so. ``sandbox`` gives the sandbox of
    ``spec``, made ahead or now.
    """

    step: PlannedStep
    number: int
    spec: SandboxSpec
    env: Mapping[str, str]
    inputs: Mapping[str, Path]
    sandbox: Callable[[], Sandbox]


class Attempt:
    """An attempt under way: ``run`` in one thread, ``stop`` from any."""

    def __init__(self, work: Work, task: Task, observer: Observer) -> None:
        """Make nothing yet."""
        self._work, self._task, self._observer = work, task, observer
        self._lock = threading.Lock()
        self._live: Sandbox | None = None
        self._sandbox: Sandbox | None = None
        self._stopped = ""
        self._detail = ""
        self._grace = task.step.grace
        self._began = False
        self._masker: MaskerPort = work.stores.masker([])
        self._secrets: dict[str, SecretPort] = {}

    @property
    def _start(self) -> AttemptStarted:
        return AttemptStarted(self._task.step.id, self._task.number, self._task.spec.phase)

    @property
    def _stores(self) -> Stores:
        return self._work.stores

    def stop(self, reason: str, detail: str, *, grace: float | None = None) -> None:
        """End the attempt for ``reason``; the first reason stands, a later call may shorten the grace."""
        with self._lock:
            if self._stopped and grace is None:
                return
            if not self._stopped:
                self._stopped, self._detail = reason, detail
            self._grace = self._task.step.grace if grace is None else grace
            live, grace = self._live, self._grace
        if live:
            live.stop(grace=grace)

    def holds(self, names: Collection[str]) -> list[str]:
        """Return which of these secrets the attempt has, or is about to have."""
        return sorted({use.secret for use in self._task.step.secrets if use.secret in names})

    def run(self) -> AttemptEnded:
        """Make the attempt and return its end, with its sandbox dead; raises ``StoreError`` only."""
        try:
            return self._run_sandboxed()
        except PolicyDenied as error:
            return self._ended(None, "denied", str(error))
        except SourceUnavailable as error:
            return self._ended(None, self._stopped or "infra", self._detail or str(error))
        except SandboxError as error:
            if self._stopped:
                return self._ended(None, self._stopped, self._detail)
            return replace(self._ended(None, "infra", str(error)), final=not error.retryable)
        except OSError as error:  # the disk, or a folder that somebody took away
            return self._ended(None, "infra", f"the attempt's folder failed: {error}")

    def release(self) -> None:
        """Remove sandbox and folder, once the end is recorded: until then a crash leaves what they hold."""
        self._destroy()
        shutil.rmtree(self._task.spec.directory, ignore_errors=True)

    def _destroy(self) -> None:
        with suppress(SandboxError, OSError):  # what remains carries our labels and is reaped
            if self._sandbox:
                self._sandbox.destroy()

    def _open_secrets(self) -> tuple[SecretValue, ...]:
        values = []
        for use in self._task.step.secrets:
            secret = self._secrets.get(use.secret) or self._open_secret(use.secret)
            if use.as_env and b"\0" in secret.reveal():
                raise PolicyDenied(
                    f"secret {use.secret} holds a NUL byte, which no variable can: use it as a file"
                )
            if not use.as_header:
                values.append(SecretValue(use.name, secret.reveal(), use.as_env))
        hidden = dict.fromkeys(value for one in self._opened() for value in one.to_mask())
        self._masker = self._stores.masker(list(hidden))
        return tuple(values)

    def _open_secret(self, name: str) -> SecretPort:
        step = self._task.step
        secret = self._stores.secrets.open(name, self._start, step.timeout + step.grace)
        self._work.opened.add(secret)
        self._secrets[name] = secret
        return secret

    def _opened(self) -> tuple[SecretPort, ...]:
        return (*self._secrets.values(), *self._work.opened.all())

    def _run_sandboxed(self) -> AttemptEnded:
        self._sandbox = sandbox = (
            self._task.sandbox()
        )  # first: one made ahead is gone at the end, whatever happens
        way = None
        try:
            secrets = () if self._stopped else self._open_secrets()
            if self._stopped:
                return self._ended(None, self._stopped, self._detail)
            way = self._open_way()
            self._stores.journal.confirm()  # a runner that was stopped since its intent may have a successor
            sandbox.start(self._message(secrets, way), way)
            self._began = True
            self._go_live(sandbox)
            self._pump(sandbox)
            exited = sandbox.wait()
            return self._conclude(exited, sandbox.collect((*self._task.step.outputs, OUTPUT_FILE)))
        except BaseException:
            self._destroy()
            raise
        finally:
            with self._lock:
                self._live = None
            try:
                if way:
                    way.close()
            finally:
                if self._task.step.secrets:  # the step is dead: what it had is of no use from now on
                    self._stores.secrets.close(self._start)

    def _open_way(self) -> WayPort | None:
        step = self._task.step
        if step.egress is None:
            return None
        return self._stores.network.open(step, self._secrets, self._report)

    def _report(self, seen: Connection) -> None:
        """Record what became of a connection; a step whose connections cannot be recorded ends."""
        phase, mask = self._task.spec.phase, self._masker.mask_text
        told = replace(seen, host=mask(seen.host), denied=mask(seen.denied))
        try:
            self._stores.journal.record(
                [ConnectionEnded(self._task.step.id, self._task.number, phase, **asdict(told))]
            )
        except StoreError as error:
            self.stop("infra", f"a connection cannot be recorded: {error.message}", grace=0)
            raise

    def _go_live(self, sandbox: Sandbox) -> None:
        with self._lock:
            self._live = sandbox
            stopped, grace = self._stopped, self._grace
        if stopped:
            sandbox.stop(grace=grace)

    def _message(self, secrets: tuple[SecretValue, ...], way: WayPort | None) -> Message:
        step = self._task.step
        env = {"PATH": PATH, "HOME": "/work", "TMPDIR": "/tmp"}  # noqa: S108
        if way:
            env |= way.env
            secrets += tuple(SecretValue(name, content) for name, content in way.files.items())
        env |= {**self._task.env, **self._own_names()}
        if self._task.spec.image.packages:
            env |= variables(env)
        return Message(step.argv, env, secrets, self._task.inputs, step.timeout, step.grace)

    def _own_names(self) -> dict[str, str]:
        origin = self._work.origin or self._work.run
        key = sha256(f"{origin}/{self._task.step.id}".encode()).hexdigest()[:32]
        return {
            "RUNNER_OUTPUT": f"/out/{OUTPUT_FILE}",
            "RUNNER_IDEMPOTENCY_KEY": key,
            "RUNNER_RUN": self._work.run,
            "RUNNER_STEP": self._task.step.id,
        }

    def _pump(self, sandbox: Sandbox) -> None:
        step, phase = self._task.step, self._task.spec.phase
        log = self._stores.logs.open(step.id, self._task.number, phase, step.limits.log)
        shown = step.id if phase == PHASE_RUN else f"{step.id} ({phase})"

        def write(stream: str, data: bytes) -> None:
            log.write(stream, data)
            self._observer.output(shown, self._task.number, stream, data)

        def full() -> None:
            self.stop("log-limit", f"it wrote more than {step.limits.log} bytes of log", grace=0)

        try:
            Pump(self._masker, write, step.limits.log, full).run(sandbox.logs())
        finally:
            log.close()

    def _conclude(self, exited: Exit, collection: Collected) -> AttemptEnded:
        leaks = Leaks(self._opened(), self._stores.masker)
        found = Results(
            self._masker,
            leaks,
            self._stores.artifacts,
            lambda path: self._stores.secrets.set_apart(path, self._start),
        )
        found.refused = [words for words in collection.refused if words != f"{OUTPUT_FILE}: was not written"]
        for file in collection.files:
            found.take(file)
        reason, detail = self._verdict(exited, {file.name for file in collection.files}, found)
        return AttemptEnded(
            self._task.step.id,
            self._task.number,
            self._task.spec.phase,
            exit_code=exited.code,
            reason=reason,
            detail=self._masker.mask_text(detail),
            outputs={key: self._masker.mask_text(value) for key, value in found.outputs.items()},
            artifacts=tuple(found.kept),
            refused=tuple(map(self._masker.mask_text, found.refused)),
            began=not exited.refused,
            final=exited.refused,
        )

    def _verdict(self, exited: Exit, names: set[str], found: Results) -> tuple[str | None, str]:
        if self._stopped and (exited.reason is not None or self._stopped == "log-limit"):
            return self._stopped, self._detail
        if found.leaked:
            return "secret-leak", found.leaked
        if exited.reason is not None:
            return exited.reason, exited.detail
        missing = [one for one in self._task.step.outputs if not _GLOB & set(one) and one not in names]
        if missing:
            told = {line.partition(": ")[0]: line for line in found.refused}
            words = "; ".join(told.get(one, f"{one}: was not written") for one in missing)
            return "exit", f"a promised file is not there: {words}"
        return None, exited.detail

    def _ended(self, code: int | None, reason: str, detail: str) -> AttemptEnded:
        task, detail = self._task, self._masker.mask_text(detail)
        return AttemptEnded(
            task.step.id, task.number, task.spec.phase, code, reason, detail, began=self._began
        )
