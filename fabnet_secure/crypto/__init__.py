"""Keys, sealed envelopes, signatures and digests: the one home of ``cryptography``.

Two verbs (:func:`~fabnet_secure.crypto.envelope.seal`, :func:`~fabnet_secure.crypto.envelope.unseal`) and two nouns
(:class:`~fabnet_secure.crypto.envelope.DataKey`, :class:`~fabnet_secure.crypto.envelope.Sealed`) are what most of the
program needs. Nothing here stores, logs or prints a secret.
"""
