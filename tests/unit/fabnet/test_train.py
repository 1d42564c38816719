"""Facts about fabnet/train.py."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fabnet_secure.errors import IntegrityFailure, NoEffectiveConsent, UsageError
from fabnet_secure.fabnet import train as module
from fabnet_secure.fabnet.accounting import opacus_epsilon
from fabnet_secure.fabnet.model import FabNet, FabNetConfig
from fabnet_secure.fabnet.train import estimate_seconds, train
from fabnet_secure.fabnet.weights import save


@pytest.fixture(autouse=True)
def short_audit(monkeypatch, request):
    """The audit has its own tests; here it is short."""
    real = module.audit_step
    monkeypatch.setattr(module, "audit_step", lambda plan, *, rng: real(plan, rng=rng, observations=320))


def drawn_by_step(monkeypatch) -> list[list[str]]:
    """Record who was eligible in each step."""
    seen: list[list[str]] = []
    real = module.poisson_persons

    def spy(ids, q, rng):
        seen.append(list(ids))
        return real(ids, q, rng)

    monkeypatch.setattr(module, "poisson_persons", spy)
    return seen


def test_training_runs_the_plan(plan, people, rng):
    """All steps run and are accounted for; the weights move, stay finite, and carry the plan's shape."""
    torch.manual_seed(0)
    start = [p.clone() for p in FabNet(FabNetConfig(image_size=32, width=0.25, embedding_dim=16)).parameters()]
    torch.manual_seed(0)
    trained = train(plan, people, rng=rng)
    assert trained.steps == plan.steps == len(trained.losses)
    assert trained.epsilon_check == opacus_epsilon(noise_multiplier=1.0, sampling_probability=0.5, steps=6, delta=1e-2)
    assert not trained.audit.refuted
    assert trained.withdrawn == frozenset()
    assert trained.model.config.embedding_dim == 16
    for before, after in zip(start, trained.model.parameters(), strict=True):
        assert bool(after.isfinite().all())
        assert bool((before != after).any())
    assert "losses" not in repr(trained)


def test_noise_is_never_seeded_in_production(plan, people):
    """Without an injected source two runs from the same start end in different weights."""
    ends = []
    for _ in range(2):
        torch.manual_seed(0)
        ends.append(next(train(replace(plan, steps=1), people).model.parameters()).detach().clone())
    assert not torch.equal(ends[0], ends[1])


def test_nobody_drawn_still_adds_noise(plan, people, rng):
    """With nobody drawn in any step the weights move all the same, and every step is paid for."""
    torch.manual_seed(0)
    before = next(FabNet(FabNetConfig(image_size=32, width=0.25, embedding_dim=16)).parameters()).clone()
    torch.manual_seed(0)
    rare = replace(plan, sampling_probability=1e-9, steps=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "epsilon_of_history", lambda history, _delta: float(sum(n for *_, n in history)))
        patch.setattr(module, "audit_step", lambda *_, **__: None)
        trained = train(rare, people, rng=rng)
    assert all(math.isnan(loss) for loss in trained.losses)
    assert trained.epsilon_check == trained.steps == 2
    assert bool((next(trained.model.parameters()) != before).all())


def test_withdrawn_person_is_gone_from_the_next_check_on(plan, people, rng, monkeypatch):
    """Consent is asked for before the first step and at every check; whoever is gone stays gone."""
    seen = drawn_by_step(monkeypatch)
    asked: list[frozenset[str]] = []

    def still_covered(subjects):
        asked.append(subjects)
        if len(asked) == 2:
            return subjects - {"person-1"}
        return frozenset(people)  # an answer never brings anybody back

    trained = train(plan, people, rng=rng, still_covered=still_covered, check_every=2)
    assert [len(subjects) for subjects in asked] == [4, 4, 3]
    assert ["person-1" in ids for ids in seen] == [True, True, False, False, False, False]
    assert trained.withdrawn == {"person-1"}


def test_no_consent_left_stops_the_run(plan, people, rng, monkeypatch):
    """When nobody is covered the run stops before another step."""
    seen = drawn_by_step(monkeypatch)
    with pytest.raises(NoEffectiveConsent) as caught:
        train(plan, people, rng=rng, still_covered=lambda _subjects: frozenset())
    assert caught.value.code == "TRAINING_CONSENTS_GONE"
    assert seen == []


def test_interrupt_goes_through(plan, people, rng, tmp_path, monkeypatch):
    """Ctrl-C in the middle comes out as KeyboardInterrupt, and nothing was written anywhere."""
    monkeypatch.chdir(tmp_path)

    class Interrupted:
        def advance(self, *news, **_figures):
            if news[1] == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(plan, people, rng=rng, progress=Interrupted())
    assert list(tmp_path.iterdir()) == []


def test_progress_shows_epsilon_so_far(plan, people, rng):
    """Progress counts every step; ε so far rises to the final figure."""
    heard = []

    class Heard:
        def advance(self, stage, done, total=None, **figures):
            heard.append((stage, done, total, figures))

    trained = train(plan, people, rng=rng, progress=Heard())
    assert [done for _, done, _, _ in heard] == list(range(1, 7))
    costs = [figures["epsilon"] for *_, figures in heard if "epsilon" in figures]
    assert costs == sorted(costs)
    assert costs[-1] == trained.epsilon_check


def test_person_without_tuples_takes_part_as_zero(plan, people, rng):
    """A person whose tracks hold one frame each is eligible and contributes nothing; training goes on."""
    people["person-0"] = [people["person-0"][0][:1]]
    assert train(replace(plan, steps=2, sampling_probability=1.0), people, rng=rng).steps == 2


def test_wrong_input_is_refused(plan, people, rng):
    """Tracks of another type, and checks that never come, are refused."""
    with pytest.raises(UsageError):
        train(plan, {"a": [np.zeros((3, 8, 8, 3))]}, rng=rng)
    with pytest.raises(UsageError):
        train(plan, people, rng=rng, check_every=0)


def test_initial_weights(plan, people, rng, tmp_path):
    """Training starts from public weights whose digest and shape match, and refuses others."""
    start = FabNet(FabNetConfig(image_size=32, width=0.25, embedding_dim=16))
    path = tmp_path / "start"
    digest = save(start, path, {})
    gentle = replace(plan, steps=1, learning_rate=1e-6)
    trained = train(gentle, people, rng=rng, initial=path, initial_sha256=digest)
    for one, other in zip(start.parameters(), trained.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    for wrong, sha in ((plan, "00"), (replace(plan, embedding_dim=8), digest)):
        with pytest.raises(IntegrityFailure):
            train(wrong, people, rng=rng, initial=path, initial_sha256=sha)


def test_estimate(plan):
    """The estimate is a positive number of seconds and grows with the steps."""
    short, long = estimate_seconds(plan), estimate_seconds(replace(plan, steps=20_000))
    assert 0 < short < long
