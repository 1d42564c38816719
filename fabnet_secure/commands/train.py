"""``train``: price a plan, then run it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fabnet_secure.commands.options import EXIT_STATUS, AsJson, Debug, DryRun, KeyFile, Quiet, Vault, noun, opened
from fabnet_secure.commands.output import Output, Talk, pairs
from fabnet_secure.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from fabnet_secure.pipeline.plan import Priced, Terms
    from fabnet_secure.pipeline.train import Trained

commands = noun(
    "Train FAb-Net with differential privacy for each person.",
    example="fabnet-secure train plan --epsilon 8 --delta 1e-2",
)

Epsilon = Annotated[float | None, typer.Option("--epsilon", help="The ε of the whole run.", show_default=False)]
Delta = Annotated[float | None, typer.Option("--delta", help="The δ of the run; below 1/persons.", show_default=False)]
Steps = Annotated[int | None, typer.Option("--steps", help="Optimiser steps.", show_default=False)]
Sampling = Annotated[
    float | None,
    typer.Option("--sampling-probability", help="The share of persons drawn in a step.", show_default=False),
]
Tuples = Annotated[
    int | None,
    typer.Option("--tuples-per-person", help="Frame tuples of a drawn person.", show_default=False),
]


@commands.command(epilog=EXIT_STATUS)
def plan(
    *,
    epsilon: Epsilon = None,
    delta: Delta = None,
    steps: Steps = None,
    sampling_probability: Sampling = None,
    tuples_per_person: Tuples = None,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Freeze who takes part and price ε before any is spent.

    Example: fabnet-secure train plan --epsilon 8 --delta 1e-2
    """
    from fabnet_secure.pipeline.plan import plan as price

    with opened(vault, key_file) as site:
        priced = price(site, _terms(epsilon, delta, steps, sampling_probability, tuples_per_person))
    out = Output(as_json=as_json, quiet=quiet)
    _warn_few(out, priced.plan.persons)
    fields = _plan_fields(priced)
    out.result("plan", fields, pairs(fields))
    out.ids([priced.plan.plan_id])


@commands.command(epilog=EXIT_STATUS)
def run(
    *,
    plan_id: Annotated[str | None, typer.Option("--plan", help="A plan's id.", show_default=False)] = None,
    epsilon: Epsilon = None,
    delta: Delta = None,
    steps: Steps = None,
    sampling_probability: Sampling = None,
    tuples_per_person: Tuples = None,
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> int:
    """Train under a plan (or under the same flags, planned first) and attack the result.

    Example: fabnet-secure train run --plan 1f0c…
    """
    from fabnet_secure.pipeline.plan import plan as price
    from fabnet_secure.pipeline.train import run as train

    given = (epsilon, delta, steps, sampling_probability, tuples_per_person)
    if plan_id is not None and any(value is not None for value in given):
        raise UsageError("--plan already says everything", hint="give --plan, or the flags of 'train plan'")
    out, talk = Output(as_json=as_json, quiet=quiet), Talk(quiet=quiet or as_json)
    if dry_run:
        _rehearse(out, vault, key_file, plan_id)
        return ExitCode.OK
    with opened(vault, key_file) as site:
        if plan_id is None:
            plan_id = price(site, _terms(*given)).plan.plan_id
        trained = train(site, plan_id, progress=talk)
    talk.finish()
    _warn_few(out, trained.persons)
    fields = _run_fields(trained)
    shown = {"the audit's least epsilon" if key == "audit" else key: value for key, value in fields.items()}
    out.result("summary", fields, pairs(shown))
    out.ids([trained.model_id])
    return ExitCode.PARTIAL if trained.flagged else ExitCode.OK


def _rehearse(out: Output, vault: Vault, key_file: KeyFile, plan_id: str | None) -> None:
    from fabnet_secure.pipeline.train import rehearse

    if plan_id is None:
        raise UsageError("--dry-run wants --plan", hint="'train plan' prices the same flags and spends nothing")
    with opened(vault, key_file) as site:
        made = rehearse(site, plan_id)
    fields = {"plan_id": made.plan_id, "persons": made.persons, "epsilon": made.epsilon, "steps": made.steps}
    lines = ["dry run: this would be spent for each person; nothing changed", *pairs(fields)]
    out.result("summary", {**fields, "dry_run": True}, lines)


def _terms(
    epsilon: float | None, delta: float | None, steps: int | None, sampling: float | None, tuples: int | None
) -> "Terms":
    from fabnet_secure.pipeline.plan import Terms

    if epsilon is None or delta is None:
        raise UsageError("a plan needs --epsilon and --delta", hint="for example --epsilon 8 --delta 1e-2")
    return Terms(epsilon=epsilon, delta=delta, steps=steps, sampling_probability=sampling, tuples_per_person=tuples)


def _warn_few(out: Output, persons: int) -> None:
    if persons < 100:
        out.say(
            f"warning: {persons} people are few. The guarantee holds for each of them, but noise drowns most of what "
            "they could teach, and an observer who knows the others learns the most about the last one."
        )


def _plan_fields(priced: "Priced") -> dict[str, Any]:
    plan_ = priced.plan
    return {
        "plan_id": plan_.plan_id,
        "persons": plan_.persons,
        "privacy_unit": "person",
        "epsilon": plan_.epsilon,
        "epsilon_check": priced.epsilon_check,
        "delta": plan_.delta,
        "noise_multiplier": plan_.noise_multiplier,
        "clipping_norm": plan_.clipping_norm,
        "sampling_probability": plan_.sampling_probability,
        "steps": plan_.steps,
        "tuples_per_person": plan_.tuples_per_person,
        "seconds_estimate": priced.seconds_estimate,
        "excluded": dict(priced.excluded),
    }


def _run_fields(trained: "Trained") -> dict[str, Any]:
    return {
        "run_id": trained.run_id,
        "model_id": trained.model_id,
        "epsilon": trained.epsilon,
        "epsilon_check": trained.epsilon_check,
        "delta": trained.plan.delta,
        "steps": trained.steps,
        "persons": trained.persons,
        "audit": trained.audit,
        "withdrawn_during_run": trained.flagged,
    }
