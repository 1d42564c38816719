"""What a training run may cost each person, and what it did cost.

Guarantees that a plan's ε is computed by the privacy loss distribution of exactly the mechanism that the plan
names, that a ledger never admits a job beyond a cap, and that an audit's bound holds at its stated confidence.
Does not run anything: the mechanism itself is ``fabnet/step.py``. Home of ``dp_accounting``.
"""
