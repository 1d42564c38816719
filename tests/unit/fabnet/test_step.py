"""Facts about fabnet/step.py."""

import math

import numpy as np
import pytest
import torch

from fabnet_secure.fabnet.model import FabNet, FabNetConfig, tuple_losses
from fabnet_secure.fabnet.step import PersonDPOptimizer, contribute

SHAPES = ((40,), (7, 5))


class Quiet:
    """A source whose normal numbers are all zero, to look under the noise."""

    def normal(self, n):
        return torch.zeros(n, dtype=torch.float64)

    def uniform(self, n):
        return torch.full((n,), 0.5, dtype=torch.float64)


def made(rng=None, *, lr=1.0, batch=2.0, noise=1.5, clip=0.1, shapes=SHAPES):
    params = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
    optimizer = PersonDPOptimizer(
        torch.optim.SGD(params, lr=lr),
        noise_multiplier=noise,
        max_grad_norm=clip,
        expected_batch_size=batch,
        rng=rng,
    )
    return optimizer, params


def flat(tensors):
    return torch.cat([t.detach().reshape(-1).double() for t in tensors])


def test_person_step_equals_naive_reference():
    """On the real network the step equals clip-and-sum, one person at a time in float64, to 1e-5 relative."""
    torch.manual_seed(0)
    model = FabNet(FabNetConfig(image_size=32, width=0.25, embedding_dim=16))
    people = [(torch.rand(3, 3, 32, 32), torch.rand(3, 1, 3, 32, 32)) for _ in range(4)]
    params = list(model.parameters())
    naive = torch.zeros(sum(p.numel() for p in params), dtype=torch.float64)
    for targets, sources in people:
        grads = []
        for index in range(3):  # tuple by tuple: autograd's own mean is not trusted either
            model.zero_grad()
            tuple_losses(model, targets[index : index + 1], sources[index : index + 1]).sum().backward()
            grads.append(flat([p.grad for p in params]))
        one = torch.stack(grads).mean(dim=0)
        naive += one * min(1.0, 0.05 / one.norm().item())
    before = flat(params)
    optimizer = PersonDPOptimizer(
        torch.optim.SGD(params, lr=1.0),
        noise_multiplier=1,
        max_grad_norm=0.05,
        expected_batch_size=2.5,
        rng=Quiet(),
    )
    optimizer.begin()
    for targets, sources in people:
        contribute(optimizer, tuple_losses(model, targets, sources))
    assert flat(optimizer._sums).sub(naive).norm() <= 1e-5 * naive.norm()
    optimizer.step()
    moved = (before - flat(params)) * 2.5
    assert (moved - naive).norm() <= 2e-5 * naive.norm()  # the weights themselves are float32


def test_small_gradients_are_not_scaled():
    """A gradient within C goes into the sum as it is; a larger one is scaled to exactly C over all tensors."""
    optimizer, params = made(Quiet())
    small = [torch.full_like(p, 1e-4) for p in params]
    optimizer.begin()
    optimizer.add_person(small)
    torch.testing.assert_close(flat(optimizer._sums), flat(small))
    optimizer.begin()
    optimizer.add_person([torch.full_like(p, 3.0) for p in params])
    assert flat(optimizer._sums).norm().item() == pytest.approx(0.1, rel=1e-9)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_not_finite_contributes_zero(bad):
    """One non-finite number anywhere turns the person's contribution into zero; the others' stay."""
    optimizer, params = made(Quiet())
    optimizer.begin()
    optimizer.add_person([torch.ones_like(p) for p in params])
    before = flat(optimizer._sums).clone()
    broken = [torch.ones_like(p) for p in params]
    broken[1][3, 2] = bad
    optimizer.add_person(broken)
    assert torch.equal(flat(optimizer._sums), before)


def test_noise_has_the_right_size_everywhere():
    """With nobody drawn, each tensor still moves by noise of standard deviation σC/B, independent each step."""
    optimizer, params = made(batch=4.0, noise=1.5, clip=0.2, shapes=((60_000,), (200, 300)))
    updates = []
    for _ in range(2):
        optimizer.begin()
        optimizer.step()
        updates.append([p.detach().clone().numpy().ravel() for p in params])
        with torch.no_grad():
            for p in params:
                p.zero_()
    for update in updates[0]:
        n = len(update)
        assert update.std() == pytest.approx(1.5 * 0.2 / 4, rel=4 / math.sqrt(2 * n))
        assert abs(update.mean()) < 4 * 0.075 / math.sqrt(n)
    for one, other in ((updates[0][0], updates[0][1]), (updates[0][0], updates[1][0])):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.02


def test_divisor_is_public():
    """The update is divided by the plan's batch size, however many were drawn."""
    for persons in (1, 3):
        optimizer, params = made(Quiet(), batch=8.0)
        optimizer.begin()
        for _ in range(persons):
            optimizer.add_person([torch.full_like(p, -1e-3) for p in params])
        optimizer.step()
        torch.testing.assert_close(flat(params), torch.full((75,), persons * 1e-3 / 8, dtype=torch.float64))


def test_hook_runs_before_the_noise():
    """The accounting hook sees the step before any noisy gradient exists, and counts it once."""
    optimizer, params = made()
    seen = []
    optimizer.attach_step_hook(lambda o: seen.append((o.params[0].grad, o.accumulated_iterations)))
    optimizer.begin()
    optimizer.add_person([torch.ones_like(p) for p in params])
    optimizer.step()
    assert seen == [(None, 1)]


def test_nothing_is_left_after_a_step():
    """After a step neither the sum nor the gradients remain."""
    optimizer, params = made()
    optimizer.begin()
    optimizer.add_person([torch.ones_like(p) for p in params])
    optimizer.step()
    assert optimizer._sums is None
    assert all(p.grad is None for p in params)


def test_order_of_calls_is_enforced():
    """No person and no step outside begin(), no closure, no gradients of another shape."""
    optimizer, params = made()
    with pytest.raises(RuntimeError):
        optimizer.step()
    with pytest.raises(RuntimeError):
        optimizer.add_person([torch.ones_like(p) for p in params])
    with pytest.raises(RuntimeError):
        optimizer.add_noise()
    optimizer.begin()
    with pytest.raises(ValueError, match="closure"):
        optimizer.step(lambda: 0.0)
    for wrong in ([params[0].detach()], [torch.ones(40), torch.ones(5, 7)]):
        with pytest.raises(ValueError, match="shapes"):
            optimizer.add_person(wrong)


@pytest.mark.parametrize(
    "change",
    [{"noise": 0.0}, {"noise": math.inf}, {"clip": 0.0}, {"clip": math.nan}, {"batch": 0.5}, {"batch": math.nan}],
)
def test_unsafe_numbers_are_refused(change):
    """An optimiser without noise, without a clipping norm or without a sound divisor is not built."""
    with pytest.raises(ValueError, match="must be"):
        made(**change)


def test_frozen_parameters_are_refused():
    """A frozen parameter would eat clipping norm and noise: it must not be given."""
    frozen = torch.nn.Parameter(torch.zeros(3), requires_grad=False)
    with pytest.raises(ValueError, match="frozen"):
        PersonDPOptimizer(torch.optim.SGD([frozen]), noise_multiplier=1, max_grad_norm=1, expected_batch_size=1)
