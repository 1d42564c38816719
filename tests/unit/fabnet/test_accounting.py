"""Facts about fabnet/accounting.py."""

import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.fabnet.accounting import epsilon_of_history, opacus_epsilon
from fabnet_secure.privacy.accountant import agree, epsilon_of_steps


@pytest.mark.parametrize(
    ("q", "steps", "noise", "delta"),
    [
        (0.5, 40, 1.4002, 1e-2),  # eight persons, ε = 8
        (0.5, 40, 6.0196, 1e-2),  # ε = 1
        (0.5, 40, 45.2699, 1e-2),  # ε = 0.05, the smallest allowed
        (0.5, 1, 2.0, 1e-2),
        (1.0, 1, 1.0, 1e-2),
        (1.0, 40, 2.0, 1e-3),
        (0.999999, 5, 1.0, 1e-2),
        (0.128, 1000, 2.325, 1e-4),
        (0.01, 5, 0.6, 1e-3),
        (0.05, 2000, 2.0, 1e-8),
    ],
)
def test_accountants_agree(q, steps, noise, delta):
    """PLD and PRV agree within 1 % for few steps and many, q = 1, small ε and large δ."""
    setting = {"noise_multiplier": noise, "sampling_probability": q, "steps": steps, "delta": delta}
    agree(epsilon_of_steps(**setting), opacus_epsilon(**setting))


def test_recorded_steps_add_up():
    """A history in pieces costs what the same steps in one piece cost; nothing costs nothing."""
    pieces = [(1.5, 0.5, 10), (1.5, 0.5, 30), (1.5, 0.5, 0)]
    whole = opacus_epsilon(noise_multiplier=1.5, sampling_probability=0.5, steps=40, delta=1e-2)
    assert epsilon_of_history(pieces, 1e-2) == pytest.approx(whole, rel=0.01)
    assert epsilon_of_history([], 1e-2) == 0


@pytest.mark.parametrize(("noise", "steps"), [(250.0, 40), (2.0, 10**9)])
def test_a_grid_too_large_is_refused(noise, steps):
    """Where Opacus' grid would exhaust the memory, the plan is refused instead."""
    with pytest.raises(UsageError) as caught:
        opacus_epsilon(noise_multiplier=noise, sampling_probability=0.5, steps=steps, delta=1e-2)
    assert caught.value.code == "EPSILON_INVALID"
