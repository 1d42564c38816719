"""The log leaf against frozen bytes (leaf_v1.json): another program can write and read the same."""

import json
from pathlib import Path

import pytest

from fabnet_secure.audit.leaf import build_leaf, commit, read_leaf
from fabnet_secure.audit.merkle import leaf_hash
from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.types import parse_rfc3339

VECTORS = json.loads(Path(__file__).with_name("leaf_v1.json").read_text(encoding="utf-8"))
LEAF = VECTORS["leaf"]


@pytest.mark.parametrize("vector", VECTORS["commitments"], ids=lambda v: v["commitment"])
def test_commitments_are_the_vectors(vector):
    """Salt and value give exactly this commitment."""
    assert commit(bytes.fromhex(vector["salt"]), vector["value"]) == vector["commitment"]


def test_the_leaf_is_the_vector():
    """The fields give exactly these bytes and this leaf hash, and the bytes give the fields back."""
    blob = build_leaf(**(LEAF | {"at": parse_rfc3339(LEAF["at"])}))
    assert blob.decode("utf-8") == VECTORS["text"]
    assert leaf_hash(blob).hex() == VECTORS["leaf_hash"]
    entry = read_leaf(blob)
    assert (entry.act, entry.actor, entry.facts) == (LEAF["act"], LEAF["actor"], LEAF["facts"])
    assert entry.commitments == LEAF["commitments"]


@pytest.mark.parametrize("vector", VECTORS["broken"], ids=lambda v: v["why"])
def test_broken_leaves_are_refused(vector):
    """Each damaged leaf, one fault apiece, is refused."""
    assert vector["text"] != VECTORS["text"]
    with pytest.raises(IntegrityFailure):
        read_leaf(vector["text"].encode("utf-8"))
