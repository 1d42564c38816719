"""The tree, its proofs and its checkpoint against published and frozen bytes (tree_rfc6962.json)."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fabnet_secure.audit.checkpoint import sign_checkpoint, vkey
from fabnet_secure.audit.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    subtree_of,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from fabnet_secure.audit.tiles import pack_entries, unpack_entries

VECTORS = json.loads(Path(__file__).with_name("tree_rfc6962.json").read_text(encoding="utf-8"))
ENTRIES = [bytes.fromhex(text) for text in VECTORS["leaves"]]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
ROOTS = [bytes.fromhex(text) for text in VECTORS["roots"]]


class Signer:
    """The vectors' key."""

    def __init__(self):
        self._key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(VECTORS["seed"]))
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, message):
        return self._key.sign(message)


def path_of(vector):
    return [bytes.fromhex(text) for text in vector["path"]]


def test_roots_are_the_reference_tree_s():
    """The root of each prefix of the Certificate Transparency reference leaves is the published one."""
    assert [tree_root(LEAVES[:size]) for size in range(len(LEAVES) + 1)] == ROOTS


@pytest.mark.parametrize("vector", VECTORS["inclusion"], ids=lambda v: f"{v['index']}-of-{v['size']}")
def test_inclusion_paths_are_the_vectors(vector):
    """Each audit path is made as written and verifies."""
    index, size = vector["index"], vector["size"]
    assert inclusion_proof(index, size, subtree_of(LEAVES)) == path_of(vector)
    assert verify_inclusion(index=index, size=size, leaf=LEAVES[index], proof=path_of(vector), root=ROOTS[size])


@pytest.mark.parametrize("vector", VECTORS["consistency"], ids=lambda v: f"{v['old']}-to-{v['new']}")
def test_consistency_paths_are_the_vectors(vector):
    """Each consistency path is made as written and verifies."""
    old, new = vector["old"], vector["new"]
    assert consistency_proof(old, new, subtree_of(LEAVES)) == path_of(vector)
    assert verify_consistency(old=old, new=new, old_root=ROOTS[old], new_root=ROOTS[new], proof=path_of(vector))


def test_the_bundle_is_the_vector():
    """Length-prefixed entries, byte for byte."""
    assert pack_entries(ENTRIES).hex() == VECTORS["bundle"]
    assert unpack_entries(bytes.fromhex(VECTORS["bundle"]), len(ENTRIES)) == ENTRIES


def test_key_and_checkpoint_are_the_vectors():
    """Ed25519 is deterministic: seed, origin, size and root give exactly this note."""
    signer = Signer()
    assert vkey("example.org/log", signer.public) == VECTORS["vkey"]
    assert sign_checkpoint("example.org/log", 8, ROOTS[8], signer) == VECTORS["checkpoint"]
