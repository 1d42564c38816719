"""The operator's word on one face, as it is written on the command line."""

import pytest

from fabnet_secure.commands.options import read_box
from fabnet_secure.errors import UsageError

ID = "4dd1c0de-0000-4000-8000-00000000abcd"


@pytest.mark.parametrize(
    ("text", "frame", "box"),
    [
        (f"120:310,95,88,102={ID}", 120, (310.0, 95.0, 88.0, 102.0)),
        (f"0:-3.5,0,0.25,7={ID}", 0, (-3.5, 0.0, 0.25, 7.0)),
    ],
    ids=["whole", "fractions-and-over-the-edge"],
)
def test_a_box_is_read(text, frame, box):
    """Frame, box and consent come out as they were written."""
    claim = read_box(text)
    assert (claim.consent_id, claim.frame, claim.box) == (ID, frame, box)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        f"120:310,95,88={ID}",
        f"120:310,95,88,102,1={ID}",
        f"-1:310,95,88,102={ID}",
        f"1.5:310,95,88,102={ID}",
        f"120:310,95,0,102={ID}",
        f"120:310,95,88,-102={ID}",
        f"120:310,95,nan,102={ID}",
        f"120:310,95,inf,102={ID}",
        f"120:310,95,1e3,102={ID}",
        f"١٢:310,95,88,102={ID}",
        f"120: 310,95,88,102={ID}",
        f"99999999999:310,95,88,102={ID}",
        "120:310,95,88,102=",
        "120:310,95,88,102=4dd1",
        f"120:310,95,88,102={ID.upper()}",
        f"120:310,95,88,102={ID}\n",
        f"120:310,95,88,102={'-' * 36}",
    ],
    ids=str,
)
def test_anything_else_is_refused(text):
    """A face is named exactly or not at all."""
    with pytest.raises(UsageError) as caught:
        read_box(text)
    assert caught.value.code == "BOX_INVALID"
    assert "FRAME:X,Y,W,H=CONSENT_ID" in caught.value.hint
