"""Consent: what a person agreed to, as an immutable record and an append-only stream of events.

Guarantees that the only way to an :class:`~fabnet_secure.consent.state.EffectiveConsent` is
:func:`~fabnet_secure.consent.state.require`, which folds the events at the time of use: a withdrawn, expired,
refused or never given consent yields none. Does not store anything, and does not judge whether the words a
person was shown satisfy a law.
"""
