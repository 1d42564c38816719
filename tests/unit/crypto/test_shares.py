"""SLIP-39 shares of a key: any m of n, and every way that they can be wrong."""

import itertools

import pytest
from shamir_mnemonic import combine_mnemonics, generate_mnemonics

from fabnet_secure.crypto.keyfile import RootKey
from fabnet_secure.crypto.shares import combine, read_shares, split
from fabnet_secure.errors import KeyProblem, UsageError


def code_of(*texts):
    with pytest.raises(KeyProblem) as caught:
        combine(texts)
    assert caught.value.exit_code == 12
    said = caught.value.message + caught.value.hint
    pairs = [" ".join(pair) for text in texts for pair in itertools.pairwise(text.split())]
    assert not any(pair in said for pair in pairs)
    return caught.value.code


@pytest.mark.parametrize(("shares", "threshold"), [(3, 2), (5, 3), (2, 2), (16, 2)])
def test_any_m_of_n_give_the_key_back(shares, threshold):
    """Every combination of as many as are needed, in any order; further shares do no harm."""
    root = RootKey.generate()
    made = split(root, shares=shares, threshold=threshold)
    assert len(set(made)) == shares
    assert {len(text.split()) for text in made} == {33}
    for chosen in itertools.combinations(made, threshold):
        assert combine(chosen[::-1]) == root
    assert combine(made) == root


def test_the_words_are_plain_slip39():
    """Another program that knows SLIP-39 combines them, without a passphrase."""
    root = RootKey.generate()
    assert combine_mnemonics(split(root, shares=3, threshold=2)[:2]) == root.reveal()


def test_one_too_few_says_nothing():
    """With fewer than needed there is no key; the same share twice counts once."""
    made = split(RootKey.generate(), shares=4, threshold=3)
    assert code_of(made[0]) == "SHARES_TOO_FEW"
    assert code_of(made[0], made[1]) == "SHARES_TOO_FEW"
    assert code_of(made[0], made[0], made[0].upper() + " ") == "SHARES_TOO_FEW"


def test_two_sets_do_not_mix():
    """Shares of two keys, or of two splittings of one key, are told apart."""
    root = RootKey.generate()
    first, second = split(root, shares=3, threshold=2), split(root, shares=3, threshold=2)
    assert code_of(first[0], second[1]) == "SHARES_MIXED"


def test_a_mistyped_word_is_found():
    """By the share's own checksum: each share with two words swapped, a word missing, or no share at all."""
    made = split(RootKey.generate(), shares=3, threshold=2)
    words = made[0].split()
    swapped = " ".join([*words[:10], words[11], words[10], *words[12:]]) if words[10] != words[11] else "academic"
    for bad in (swapped, " ".join(words[:-1]), "hello world", "academic " * 33, ""):
        assert code_of(bad, made[1]) == "SHARE_INVALID"


def test_a_share_of_something_else_is_refused():
    """A wallet's shares (one of one, several groups, a long iteration) are not worked on."""
    alone = generate_mnemonics(1, [(1, 1)], bytes(32), iteration_exponent=0)[0][0]
    groups = generate_mnemonics(2, [(2, 2), (2, 2)], bytes(32), iteration_exponent=0)
    short = generate_mnemonics(1, [(2, 2)], bytes(16), iteration_exponent=0)[0]
    assert code_of(alone) == "SHARE_INVALID"
    assert code_of(groups[0][0], groups[0][1]) == "SHARE_INVALID"
    assert code_of(*short) == "SHARE_INVALID"


def test_a_forged_share_does_not_make_a_key():
    """A share with a right checksum and a changed value: the digest says that the whole is wrong."""
    from dataclasses import replace

    from shamir_mnemonic import Share

    made = split(RootKey.generate(), shares=3, threshold=2)
    share = Share.from_mnemonic(made[0])
    forged = replace(share, value=bytes([share.value[0] ^ 1]) + share.value[1:]).mnemonic()
    assert code_of(forged, made[1]) == "SHARES_WRONG"
    assert code_of(forged, made[0], made[1]) == "SHARES_WRONG"


@pytest.mark.parametrize(("shares", "threshold"), [(3, 1), (1, 1), (2, 3), (17, 2), (0, 0), (-1, -1)])
def test_numbers_that_cannot_be_are_refused(shares, threshold):
    """One share must never be enough; more than sixteen are not made."""
    with pytest.raises(UsageError) as caught:
        split(RootKey.generate(), shares=shares, threshold=threshold)
    assert caught.value.code == "SHARES_INVALID"


def test_shares_are_read_from_text():
    """One a line; empty lines and comments do not count; case and spaces neither."""
    made = split(RootKey.generate(), shares=2, threshold=2)
    text = f"# share 1\n{made[0]}\n\n  {made[1].upper().replace(' ', '  ')} \r\n"
    assert read_shares(text) == made
    with pytest.raises(KeyProblem):
        read_shares("# nothing\n")
