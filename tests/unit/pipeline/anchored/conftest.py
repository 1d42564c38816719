"""Short ways to open a vault under other settings, and to put an earlier copy of it in its place."""

import shutil

import pytest

from fabnet_secure.config import load
from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.pipeline.auditing import check
from fabnet_secure.pipeline.context import open_site
from fabnet_secure.pipeline.witnessing import of_vault, witness


@pytest.fixture(scope="session")
def act():
    """Return a function that leaves one entry in the log."""

    def enter(site, **facts):
        with site.work() as work:
            work.log("test.act", facts=facts)

    return enter


@pytest.fixture(scope="session")
def opened():
    """Return a function that opens the room's vault, with other witnesses or without looking at the anchor."""

    def under(room, *, witnesses=(), anchored=True):
        settings = load([]).settings
        audit = settings.audit.model_copy(update={"witness": tuple(map(str, witnesses))})
        return open_site(room.place, settings.model_copy(update={"audit": audit}), clock=room.clock, anchored=anchored)

    return under


@pytest.fixture(scope="session")
def refusal(opened):
    """Return a function that tells the code with which opening is refused."""

    def code(room, **settings):
        with pytest.raises(IntegrityFailure) as refused, opened(room, **settings):
            pass
        return refused.value.code

    return code


@pytest.fixture(scope="session")
def kept():
    """Return a function that copies the vault's databases as they are now."""

    def keep(room, name="kept"):
        return shutil.copytree(room.place.root, room.folder / name)

    return keep


@pytest.fixture(scope="session")
def put_back():
    """Return a function that puts an earlier copy of the databases (or of those named) in the vault's place."""

    def bring(room, copy, *files):
        for path in room.place.root.glob("*.db-*"):
            path.unlink()
        for path in sorted(copy.glob("*.db*")):
            if not files or path.name.split("-")[0] in files:
                shutil.copy(path, room.place.root / "incoming")
                (room.place.root / "incoming").replace(room.place.root / path.name)

    return bring


@pytest.fixture(scope="session")
def head_of(opened):
    """Return a function that tells the log's head, as a person types it, and the vault's id."""

    def told(room):
        with opened(room, anchored=False) as site:
            size, root, _ = check(site)
            return f"{size}:{root}", site.vault_id

    return told


@pytest.fixture(scope="session")
def witnessed(opened):
    """Return a function that lets the vault's own witness watch it."""

    def watch(room, out, **fields):
        with opened(room) as site, of_vault(site, "audit_witness") as log:
            return witness(log, out=out, key_file=room.folder / "witness.key", now=room.clock, **fields)

    return watch
