"""Invariant: whatever earlier copy of the databases is put back is refused, whatever became of the anchor's last line.

A small vault acts, is copied, and acts on; any copy but the newest is refused, alone or with its keystore, and the
newest opens. The anchor itself may lose the end of its last line, and no more.
"""

import shutil
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabnet_secure.config import load
from fabnet_secure.errors import FabnetError, IntegrityFailure
from fabnet_secure.pipeline.context import Place, open_site
from fabnet_secure.pipeline.create import create_vault

START = datetime(2026, 5, 4, tzinfo=UTC)
ACTS = 6


def clock():
    return START


def opened(place):
    return open_site(place, load([]).settings, clock=clock)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A vault that acted six times, with a copy of its databases from before each act and after the last."""
    folder = tmp_path_factory.mktemp("told")
    place = Place(root=folder / "vault", key_file=folder / "vault.key")
    create_vault(place, load([]).settings, clock=clock)
    copies = []
    for number in range(ACTS):
        copies.append(shutil.copytree(place.root, folder / f"copy-{number}"))
        with opened(place) as site, site.work() as work:
            site.anchor.append("withdrawn", consent_id=f"consent-{number}", key_ids=[])
            work.log("test.act", facts={"number": number})
    copies.append(shutil.copytree(place.root, folder / "newest"))
    return place, copies, place.anchor_file.read_bytes()


def put(place, copy, files):
    for path in place.root.glob("*.db*"):
        if not files or path.name.split("-")[0] in files:
            path.unlink()
    for path in copy.glob("*.db*"):
        if not files or path.name.split("-")[0] in files:
            shutil.copy(path, place.root / path.name)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, ACTS), both=st.booleans(), torn=st.binary(max_size=30).filter(lambda blob: b"\n" not in blob))
def test_only_the_newest_copy_opens(told, at, both, torn):
    """Refused with ROLLED_BACK at every distance; a torn last line changes nothing."""
    place, copies, anchor = told
    put(place, copies[at], () if both else ("vault.db",))
    place.anchor_file.write_bytes(anchor + torn)
    if at == ACTS:
        with opened(place):
            return
    with pytest.raises(IntegrityFailure) as refused, opened(place):
        pass
    assert refused.value.code == "ROLLED_BACK"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_line_in_the_middle_never_opens_an_older_copy(told, data):
    """Flip, drop or double any byte before the last line: still no older copy opens."""
    place, copies, anchor = told
    put(place, copies[data.draw(st.integers(0, ACTS - 1))], ())
    last = anchor.rstrip(b"\n").rfind(b"\n") + 1
    at = data.draw(st.integers(0, last - 1))
    bit = data.draw(st.integers(0, 7))
    how = data.draw(st.sampled_from(("flip", "drop", "double")))
    middle = {
        "flip": bytes([anchor[at] ^ (1 << bit)]),
        "drop": b"",
        "double": anchor[at : at + 1] * 2,
    }[how]
    place.anchor_file.write_bytes(anchor[:at] + middle + anchor[at + 1 :])
    with pytest.raises(FabnetError) as refused, opened(place):
        pass
    assert refused.value.exit_code == 30
