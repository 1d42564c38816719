"""The Merkle tree of RFC 6962: hashes, roots and proofs, over any source of subtree hashes.

Guarantees that leaves and nodes are hashed in separate domains, and that a proof is accepted only when it
rebuilds the exact root at the exact size. Does not know where hashes are kept: making a proof asks a function
for the hashes of aligned subtrees. A proof's verification never raises on a wrong proof; it says no.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from fabnet_secure.errors import UsageError

HASH_SIZE = 32
_PAIR = 2 * HASH_SIZE
EMPTY_ROOT = hashlib.sha256(b"").digest()

Subtree: TypeAlias = Callable[[int, int], bytes]
"""The Merkle Tree Hash of the leaves ``start <= i < stop``."""


def leaf_hash(entry: bytes) -> bytes:
    """Return ``SHA-256(0x00 || entry)``, 32 bytes (RFC 6962, section 2.1)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return ``SHA-256(0x01 || left || right)``, 32 bytes (RFC 6962, section 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def split_point(size: int) -> int:
    """Return the largest power of two below ``size`` (which is at least 2), where a tree divides."""
    return 1 << ((size - 1).bit_length() - 1)


def tree_root(hashes: Sequence[bytes]) -> bytes:
    """Return the Merkle Tree Hash over ``hashes``, each the hash of a leaf or of a full subtree of one size.

    The last one may stand for a smaller, ragged subtree. An unpaired hash moves up unchanged, which is the
    same tree as RFC 6962's recursive division.
    """
    if not hashes:
        return EMPTY_ROOT
    sha256 = hashlib.sha256
    level = b"".join(hashes)
    while len(level) > HASH_SIZE:
        whole = len(level) // _PAIR * _PAIR
        paired = [sha256(b"\x01" + level[i : i + _PAIR]).digest() for i in range(0, whole, _PAIR)]
        level = b"".join(paired) + level[whole:]
    return level


def subtree_of(hashes: Sequence[bytes]) -> Subtree:
    """Return the subtree function of a tree held in memory as leaf hashes, for making proofs."""
    return lambda start, stop: tree_root(hashes[start:stop])


def inclusion_proof(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """Return the audit path of leaf ``index`` in the tree of ``size`` leaves (RFC 6962, section 2.1.1).

    Raises:
        UsageError: code ``LOG_RANGE``: there is no such leaf.
    """
    if not 0 <= index < size:
        raise UsageError(f"the log of {size} entries has no entry {index}", code="LOG_RANGE")
    path: list[bytes] = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + split_point(stop - start)
        if index < middle:
            path.append(subtree(middle, stop))
            stop = middle
        else:
            path.append(subtree(start, middle))
            start = middle
    return path[::-1]


def consistency_proof(old: int, new: int, subtree: Subtree) -> list[bytes]:
    """Return the proof that the tree of ``new`` leaves begins with that of ``old`` (RFC 6962, section 2.1.2).

    It is empty for equal sizes and for an empty old tree.

    Raises:
        UsageError: code ``LOG_RANGE``: ``old`` is negative or larger than ``new``.
    """
    if not 0 <= old <= new:
        raise UsageError(f"a log of {old} entries cannot have grown into one of {new}", code="LOG_RANGE")
    path: list[bytes] = []
    start, stop = 0, new
    while old not in (0, stop):
        middle = start + split_point(stop - start)
        if old <= middle:
            path.append(subtree(middle, stop))
            stop = middle
        else:
            path.append(subtree(start, middle))
            start = middle
    if start > 0:
        # The old root itself is known to the verifier only while it is a whole left subtree.
        path.append(subtree(start, stop))
    return path[::-1]


def _walk(node: int, last: int, proof: Sequence[bytes]) -> Iterator[tuple[bool, bytes] | None]:
    """Climb from ``node`` (with ``last`` the rightmost node of its level), a step for each hash of ``proof``.

    Yields whether the proof's hash stands on the left, and the hash; then ``None`` when the root is reached
    exactly. Stops early when the proof is too long or too short (RFC 9162, sections 2.1.3.2 and 2.1.4.2).
    """
    for sibling in proof:
        if last == 0 or len(sibling) != HASH_SIZE:
            return
        on_left = bool(node & 1) or node == last
        yield on_left, sibling
        if on_left:
            while node and not node & 1:
                node >>= 1
                last >>= 1
        node >>= 1
        last >>= 1
    if last == 0:
        yield None


def verify_inclusion(*, index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """Tell whether ``proof`` shows the leaf hash ``leaf`` at ``index`` under ``root`` (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    computed = leaf
    for step in _walk(index, size - 1, proof):
        if step is None:
            return computed == root
        on_left, sibling = step
        computed = node_hash(sibling, computed) if on_left else node_hash(computed, sibling)
    return False


def verify_consistency(*, old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Tell whether ``proof`` shows that the ``old`` tree is the beginning of the ``new`` (RFC 9162, 2.1.4.2).

    An empty old tree, which RFC 9162 leaves open, is the beginning of any tree and takes an empty proof.
    """
    if not 0 <= old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    if old == 0:
        return not proof and old_root == EMPTY_ROOT
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        return False
    node, last = old - 1, new - 1
    while node & 1:
        node >>= 1
        last >>= 1
    old_computed = new_computed = path[0]
    for step in _walk(node, last, path[1:]):
        if step is None:
            return old_computed == old_root and new_computed == new_root
        on_left, sibling = step
        if on_left:
            old_computed = node_hash(sibling, old_computed)
            new_computed = node_hash(sibling, new_computed)
        else:
            new_computed = node_hash(new_computed, sibling)
    return False
