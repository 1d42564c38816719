"""The audit log: an append-only Merkle tree of acts that can be checked without trusting whoever keeps it.

Guarantees that every act is a leaf of an RFC 6962 tree whose head is signed, and that any entry, tile, size or
checkpoint that was changed, dropped, swapped, cut off or added is found by recomputation, here or by other
people's programs (the files are C2SP ``tlog-tiles``, ``tlog-checkpoint`` and ``tlog-proof``). Does not store
anything itself and holds no key: storage and signing come in as protocols. Does not prove that the whole log
was not put back to an older, honestly signed head: that takes a witness, a checkpoint remembered elsewhere
(:func:`~fabnet_secure.audit.verify.check_extends`).
"""
