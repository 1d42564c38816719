"""A packed page of today opens tomorrow, and its form is the one that envelope.py describes."""

import base64
import hashlib

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fabnet_secure.crypto.envelope import Context, DataKey, Sealed, unseal

KEY = bytes(range(32))
CONTEXT = Context(format="embeddings/2", subject="s", consent="c", model="m", page=7, n=3, dim=4)
ASSOCIATED = b'{"consent":"c","dim":4,"format":"embeddings/2","model":"m","n":3,"page":7,"subject":"s","track":""}'
PLAIN = b"three vectors of four halves"
BLOB = base64.b64decode(
    "RlNFMQNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ent8fX5/gIGCg6GPBBvVjVSMgUrBGvY8LKSivdnOqVo/CdoR0QdVHzuGsEEK40YL"
    "cfNfm0H2zuUUaMWNDNN7sZgogUzMqnIcU1oI4nKEhCC5XtP1wNY="
)


def test_a_stored_page_opens():
    """The recorded envelope of kind 3 opens to its plaintext."""
    assert CONTEXT.encode() == ASSOCIATED
    assert unseal(DataKey(KEY), CONTEXT, Sealed.from_storage(BLOB)) == PLAIN


def test_the_written_form_is_the_form_in_bulk():
    """A reader built from the description alone, on the primitives, opens it."""
    header, salt, commitment, body = BLOB[:5], BLOB[5:37], BLOB[37:69], BLOB[69:]
    both = hashlib.blake2b(header + salt + ASSOCIATED, key=KEY, person=b"fabnet-seal/v3", digest_size=64).digest()
    assert (header, both[32:]) == (b"FSE1\x03", commitment)
    assert AESGCM(both[:32]).decrypt(bytes(12), body, None) == PLAIN
