"""The lines about the network: which hosts, and what a step that asks for them may have done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.workflow.hosts import Rule, line

if TYPE_CHECKING:
    from runner.draft.hints import Hints
    from runner.draft.page import Page
    from runner.draft.seen import Asked, Seen

_READS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Network:
    """What is known of the network: the rules that were ``opened``, and the operator's ``private`` hosts."""

    seen: Seen
    hints: Hints
    opened: tuple[Rule, ...] = ()
    private: frozenset[str] = frozenset()

    @property
    def effects(self) -> str:
        """The step's effects, as far as they can be told: what cannot be seen may have written."""
        if not self.seen.asked:
            return "none"
        methods = frozenset().union(*(each.methods for each in self.seen.asked))
        return "read" if methods <= _READS else "write"

    @property
    def reached(self) -> tuple[Asked, ...]:
        """The hosts that were asked for and let through."""
        return tuple(each for each in self.seen.asked if each.rule)

    def entry(self, asked: Asked) -> str:
        """Return the line of ``egress`` for a host, as YAML."""
        known = next(
            (rule for rule in self.opened if (rule.host, rule.port) == (asked.host, asked.port)), None
        )
        if known and (known.insecure or not asked.is_plain):
            return line(known)
        private = f"{asked.host}:{asked.port}" in self.private
        return line(Rule(asked.host, asked.port, insecure=asked.is_plain, private=private))


def write_egress(page: Page, network: Network, indent: str) -> None:
    """Write the hosts and the effects of the step."""
    asked = network.seen.asked
    if asked:
        page.add(f"{indent}egress:", "asked of the proxy: raw sockets and DNS are not seen by it")
    for each in asked:
        page.add(f"{indent}  - {network.entry(each)}", _how(each))
    if network.seen.unnamed:
        page.note(f"{indent}  ", f"{network.seen.unnamed} requests named no host that could be told")
    _write_doubts(page, network, indent)
    page.add(f"{indent}effects: {network.effects}", _why(network))
    if network.effects == "write":
        page.note(
            indent, "nothing undoes it: write compensate: {run: …}, or irreversible: true, or effects: read"
        )
        for does, calls in (("reads", network.hints.reading), ("writes", network.hints.writing)):
            for call in calls:
                page.note(indent, f"  line {call.line}: {call.word} {does}")


def write_staging(page: Page, network: Network, indent: str, commands: list[str] | None = None) -> None:
    """Write what a staging run may reach, and with ``commands`` what a step that may write does there."""
    reached = network.reached
    if commands is None and reached:
        hosts = ", ".join(dict.fromkeys(map(network.entry, reached)))
        page.add(f"{indent}staging:")
        page.add(f"{indent}  egress: [{hosts}]", "let through while watched (--egress)")
    elif commands is None and network.seen.asked:
        page.note(
            indent, "staging: {egress: […]}  names what a staging run may reach; nothing was let through"
        )
    elif commands and reached and network.effects == "write":
        page.add(f"{indent}staging:")
        page.block(f"{indent}  ", "run", commands, "the same: it was let through while watched")
    elif commands and network.effects == "write":
        page.note(indent, "staging: {run: …}  is what a staging run does in its place; without it, nothing")


def _write_doubts(page: Page, network: Network, indent: str) -> None:
    for each in network.hints.direct:
        page.note(indent, f"line {each.line}: {each.word} may not go by the proxy, and is then not seen")
    asked = {each.host for each in network.seen.asked}
    for host in network.hints.hosts:
        if host not in asked:
            page.note(indent, f"{host} is named in the script and was not asked for")
    if network.seen.looked_up:
        page.note(indent, "it looked up a name itself, past the proxy: which one cannot be seen")


def _how(asked: Asked) -> str:
    methods = ", ".join(sorted(asked.methods - {""})) or "connection"
    times = f", {asked.count} times" if asked.count > 1 else ""
    through = f"let through, and failed: {asked.failed}" if asked.failed else "let through"
    became = f"denied while watched: {asked.denied}" if asked.denied else through
    return f"{methods}{times}, {became}"


def _why(network: Network) -> str:
    if network.effects == "none":
        return "it asked for no host"
    if network.effects == "read":
        return "every request was seen, and was GET or HEAD"
    if any("CONNECT" in each.methods for each in network.seen.asked):
        return "what passes in a tunnel cannot be seen: it may have written"
    return "not every request was GET or HEAD"
