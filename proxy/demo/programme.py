"""What the demo prints: the table of what came from where, the bars of how long it took, and the closing lines."""

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from proxy.demo.script import Call, Step
from proxy.demo.stage import Answer, Source, Stage

_WIDTHS = (80, 100)
# From this width on the columns of the table stand further apart.
_ROOMY = 90
_STYLES: dict[Source, str] = {
    "upstream": "yellow",
    "both": "cyan",
    "cache": "green",
    "stale copy": "magenta",
    "none": "red",
}


class Outcome(Struct, frozen=True):
    """One call of the script with its answers, which are several when it was made several times at once."""

    call: Call
    answers: tuple[Answer, ...]
    wrong: str | None
    """What is not as the script says, or None."""

    @property
    def seconds(self) -> float:
        """The longest that an answer took."""
        return max(answer.seconds for answer in self.answers)

    @property
    def fetched(self) -> int:
        """Ids that the upstream was asked for, seen by any of the answers."""
        return max(answer.fetched for answer in self.answers)


Played = Sequence[tuple[Step, Sequence[Outcome]]]


def console() -> Console:
    """Standard output, between 80 and 100 columns wide whether it is a terminal or not."""
    narrowest, widest = _WIDTHS
    return Console(width=min(max(Console().width, narrowest), widest), highlight=False)


def print_table(out: Console, played: Played) -> None:
    """One row for each call."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0) if out.width >= _ROOMY else 0, show_edge=False)
    for header in ("Step", "Asked", "Answer", "Came from"):
        table.add_column(header, no_wrap=True)
    for header in ("Fetched", "Time"):
        table.add_column(header, no_wrap=True, justify="right")
    for number, (step, outcomes) in enumerate(played, 1):
        for index, outcome in enumerate(outcomes):
            name = f"{number:2} {step.name}" if index == 0 else ""
            table.add_row(name, *_cells(outcome), style="bold red" if outcome.wrong else "")
    out.print()
    out.print(table)
    out.print("\nFor step 10 the demo moves the proxy's clock; nobody has to wait.\n", style="dim")


def _cells(outcome: Outcome) -> tuple[Text | str, ...]:
    first = outcome.answers[0]
    status = Text(str(first.status), style="green" if first.status < 400 else "red")  # noqa: PLR2004
    fetched = f"{outcome.fetched} id{'s' if outcome.fetched > 1 else ''}" if outcome.fetched else "-"
    return (
        _asked(outcome.call),
        status,
        Text(_origin(outcome), _STYLES[first.source]),
        fetched,
        _milliseconds(outcome.seconds),
    )


def _asked(call: Call) -> str:
    first, *others = call.ids
    if call.times > 1:
        return f"{first}, {call.times} times"
    return f"{len(call.ids)} {call.kind.items}" if len(others) > 1 else ", ".join(call.ids)


def _origin(outcome: Outcome) -> str:
    match outcome.answers[0].source:
        case "both":
            held = len(outcome.call.ids) - outcome.fetched
            return f"cache {held}, upstream {outcome.fetched}"
        case "none":
            return "no answer to give"
        case source:
            return source


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"  # noqa: PLR2004


def print_bars(out: Console, played: Played) -> None:
    """A bar for each call, from the start of its step: calls made together stand below each other."""
    label = 30
    room = out.width - label - 10
    steps = [(step, outcomes, min(o.answers[0].started for o in outcomes)) for step, outcomes in played]
    longest = max(_end(outcome, start) for _, outcomes, start in steps for outcome in outcomes)
    fill = "█" if out.encoding.lower().startswith("utf") else "#"
    out.print("How long each took, from the start of its step\n", style="bold")
    for number, (step, outcomes, start) in enumerate(steps, 1):
        for index, outcome in enumerate(outcomes):
            name = f"{number:2} {step.name}" if index == 0 else ""
            before = round((outcome.answers[0].started - start) / longest * room)
            length = max(1, round(outcome.seconds / longest * room))
            line = Text(f"{name:<20} {outcome.call.kind.name:<8} ")
            line.append(" " * before + fill * length, style=_STYLES[outcome.answers[0].source])
            line.append(f" {_milliseconds(outcome.seconds)}")
            out.print(line, no_wrap=True, overflow="crop")
    out.print()


def _end(outcome: Outcome, start: float) -> float:
    return max(answer.started + answer.seconds for answer in outcome.answers) - start


def print_closing(out: Console, counts: Counter[str], stage: Stage) -> None:
    """The hit ratio, out of the proxy's own metrics, against what the services have counted."""
    asked = counts.total()
    served = counts["hit"] + counts["stale"] + counts["negative"]
    out.print(
        f"/metrics: {asked} ids asked, {served} answered from the proxy: "
        f"[bold]hit ratio {served / asked:.0%}[/bold].\n"
        f"The services were asked for {stage.services.fetched.total()} ids, in {len(stage.services.calls)} calls."
    )


def print_verdict(out: Console, wrong: Sequence[str]) -> None:
    """Whether everything went as the script says."""
    if not wrong:
        out.print("Every answer was checked, and each is as it should be.", style="green")
        return
    out.print("Not everything is as it should be:", style="bold red")
    for line in wrong:
        out.print(f"  {escape(line)}", style="red")


def print_invitation(out: Console, stage: Stage) -> None:
    """What a person can try while everything is kept running."""
    proxy, handshake, ops = (stage.addresses[name] for name in ("upstreams.main", "handshake", "ops"))
    user = f"curl -si http://{proxy}/main/api/v3/users/bulk -H 'content-type: application/json'"
    out.print("\nEverything is still running. Try, in another terminal:\n", style="bold")
    login = f"curl -s http://{handshake}/v1/login -H 'content-type: application/json'"
    for line in (
        f"""{user} -d '{{"userIds":["user-01","user-22"]}}'""",
        f"""{login} -d '{{"userId":"user-01","businessId":"biz-01"}}'""",
        f"curl -s http://{ops}/metrics | grep entities_total",
        f"curl -si http://{ops}/readyz",
        f"curl -si http://{proxy}/users/user-01   # no resource claims this path: passed through",
        f"sqlite3 {stage.database} 'select user_id, name, last_synced_at from users'",  # noqa: S608 - for a person
    ):
        # Whole lines, so that they can be copied, whatever the width.
        out.print(f"  {line}", soft_wrap=True, markup=False)
    out.print(f"\nThe Inspector, in a browser: http://{handshake}/", soft_wrap=True)
    out.print(f"The services themselves: {stage.services.url}. Ctrl-C ends it all.")
