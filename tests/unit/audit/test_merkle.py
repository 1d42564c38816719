"""The tree against RFC 6962's definition, and proofs against every wrong root, size and place."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabnet_secure.audit.merkle import (
    EMPTY_ROOT,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    subtree_of,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from fabnet_secure.errors import UsageError


def reference_root(hashes):
    """Divide as RFC 6962, section 2.1, is written: at the largest power of two below the size."""
    if len(hashes) == 1:
        return hashes[0]
    middle = 1
    while middle * 2 < len(hashes):
        middle *= 2
    return node_hash(reference_root(hashes[:middle]), reference_root(hashes[middle:]))


LEAVES = [leaf_hash(bytes([i])) for i in range(40)]


def test_root_is_the_rfc_recursion():
    """Pairing level by level gives the root of the recursive definition at every size."""
    assert tree_root([]) == EMPTY_ROOT
    for size in range(1, len(LEAVES) + 1):
        assert tree_root(LEAVES[:size]) == reference_root(LEAVES[:size])


def test_leaf_and_node_hashes_never_meet():
    """A leaf that spells out two hashes is not their node: second preimages across domains are excluded."""
    assert leaf_hash(LEAVES[0] + LEAVES[1]) != node_hash(LEAVES[0], LEAVES[1])


def test_every_inclusion_proof_holds_at_its_own_place_only():
    """All proofs up to 18 leaves verify, and at no other index or size."""
    for size in range(1, 19):
        root = tree_root(LEAVES[:size])
        for index in range(size):
            proof = inclusion_proof(index, size, subtree_of(LEAVES))
            leaf = LEAVES[index]
            for other in range(-1, 20):
                held = verify_inclusion(index=other, size=size, leaf=leaf, proof=proof, root=root)
                assert held == (other == index)
            assert not verify_inclusion(index=index, size=0, leaf=leaf, proof=proof, root=root)


def test_every_consistency_proof_holds_for_its_own_sizes_only():
    """All proofs up to 18 leaves verify between their two roots and between no other pair of sizes' roots."""
    roots = [tree_root(LEAVES[:size]) for size in range(19)]
    for new in range(19):
        for old in range(new + 1):
            proof = consistency_proof(old, new, subtree_of(LEAVES))
            for claimed in range(new + 1):
                held = verify_consistency(old=old, new=new, old_root=roots[claimed], new_root=roots[new], proof=proof)
                assert held == (claimed == old), (old, new, claimed)
                if new and 0 < old < new:
                    assert verify_consistency(
                        old=old, new=new, old_root=roots[old], new_root=roots[claimed], proof=proof
                    ) == (claimed == new)


@settings(deadline=None)
@given(st.integers(1, 40), st.data())
def test_a_changed_proof_does_not_hold(size, data):
    """A flipped bit, a hash more, a hash less or a shortened hash makes an inclusion proof worthless."""
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, subtree_of(LEAVES))
    root = tree_root(LEAVES[:size])
    damaged = [[*proof, LEAVES[0]], [*proof, b""]]
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        flipped = bytes([proof[at][0] ^ 1]) + proof[at][1:]
        damaged += [proof[:at] + proof[at + 1 :], [*proof[:at], flipped, *proof[at + 1 :]]]
        damaged += [[*proof[:at], proof[at][:-1], *proof[at + 1 :]]]
    for wrong in damaged:
        assert not verify_inclusion(index=index, size=size, leaf=LEAVES[index], proof=wrong, root=root)


@settings(deadline=None)
@given(st.integers(1, 40), st.data())
def test_a_changed_consistency_proof_does_not_hold(new, data):
    """A flipped bit, a hash more or a hash less makes a consistency proof worthless."""
    old = data.draw(st.integers(1, new))
    proof = consistency_proof(old, new, subtree_of(LEAVES))
    roots = {"old_root": tree_root(LEAVES[:old]), "new_root": tree_root(LEAVES[:new])}
    assert verify_consistency(old=old, new=new, proof=proof, **roots)
    assert not verify_consistency(old=old, new=new, proof=[*proof, LEAVES[0]], **roots)
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        flipped = bytes([proof[at][0] ^ 1]) + proof[at][1:]
        assert not verify_consistency(old=old, new=new, proof=proof[:at] + proof[at + 1 :], **roots)
        assert not verify_consistency(old=old, new=new, proof=[*proof[:at], flipped, *proof[at + 1 :]], **roots)


def test_the_empty_log_is_the_beginning_of_any_and_takes_no_proof():
    """From size 0 only the empty root and the empty proof are accepted."""
    root = tree_root(LEAVES[:3])
    assert verify_consistency(old=0, new=3, old_root=EMPTY_ROOT, new_root=root, proof=[])
    assert not verify_consistency(old=0, new=3, old_root=root, new_root=root, proof=[])
    assert not verify_consistency(old=0, new=3, old_root=EMPTY_ROOT, new_root=root, proof=[root])


def test_a_proof_is_never_empty_between_ragged_sizes():
    """From a size that is no power of two the old root itself has to be rebuilt, which takes hashes."""
    roots = {"old_root": tree_root(LEAVES[:3]), "new_root": tree_root(LEAVES[:5])}
    assert not verify_consistency(old=3, new=5, proof=[], **roots)


def test_a_log_never_shrinks():
    """A proof from a larger to a smaller log is refused, whatever it holds."""
    root = tree_root(LEAVES[:3])
    assert not verify_consistency(old=3, new=2, old_root=root, new_root=root, proof=[])
    with pytest.raises(UsageError):
        consistency_proof(3, 2, subtree_of(LEAVES))


@pytest.mark.parametrize("index", [-1, 5, 6])
def test_no_proof_is_made_for_an_entry_that_is_not_there(index):
    """Asking for a proof outside the log says so, with a stable code."""
    with pytest.raises(UsageError) as caught:
        inclusion_proof(index, 5, subtree_of(LEAVES))
    assert caught.value.code == "LOG_RANGE"
