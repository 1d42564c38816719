"""Doctor: is this machine fit, and is this vault sound? Each check is ok, warn or fail, with its remedy."""

import os
import platform
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

from fabnet_secure.config import Configuration, policies_dir
from fabnet_secure.errors import FabnetError
from fabnet_secure.pipeline import holds
from fabnet_secure.pipeline.context import Place, Site, open_site

_LIBRARIES = (
    "torch",
    "opacus",
    "dp-accounting",
    "cryptography",
    "cedarpy",
    "sqlalchemy",
    "opencv-python-headless",
    "onnxruntime",
)
_OLD_WITNESS = timedelta(days=7)
_EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check's result."""

    name: str
    status: str  # ok, warn, fail
    detail: str
    remedy: str = ""


def diagnose(place: Place | None, configuration: Configuration) -> tuple[Finding, ...]:
    """Run every check; those that need a vault only where one is named."""
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("versions", _versions),
        ("detector", _detector),
        ("codecs", _codecs),
        ("policies", _policies),
        ("settings", lambda: _settings(configuration)),
        ("clock", _clock),
        ("memory", _memory),
        ("core dumps", _core_dumps),
        ("swap", _swap),
        ("temp directory", _temp),
    ]
    findings = [_guarded(name, check) for name, check in checks]
    if place is not None:
        findings += _vault(place, configuration)
    return tuple(findings)


def _guarded(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except FabnetError as error:
        return Finding(name=name, status="fail", detail=error.message, remedy=error.hint)
    except Exception as error:  # noqa: BLE001  a doctor reports what he finds, whatever it is
        return Finding(name=name, status="fail", detail=f"{type(error).__name__}: {error}", remedy="reinstall")


def _versions() -> Finding:
    named = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return Finding(name="versions", status="ok", detail=f"Python {platform.python_version()}, {named}")


def _detector() -> Finding:
    from fabnet_secure.video.detect import DETECTOR_SHA256, Detector

    Detector.load()
    return Finding(name="detector", status="ok", detail=f"YuNet, sha256 {DETECTOR_SHA256[:16]}…")


def _codecs() -> Finding:
    from fabnet_secure.video.reader import has_ffmpeg

    if has_ffmpeg():
        return Finding(name="codecs", status="ok", detail="OpenCV reads video through FFmpeg")
    remedy = "install opencv-python-headless from its wheel"
    return Finding(name="codecs", status="fail", detail="OpenCV was built without FFmpeg", remedy=remedy)


def _policies() -> Finding:
    from fabnet_secure.access.decision import PolicySet

    policies = PolicySet.load(policies_dir() / "access")
    return Finding(name="policies", status="ok", detail=f"access policies valid, sha256 {policies.sha256[:16]}…")


def _settings(configuration: Configuration) -> Finding:
    if configuration.origins["site.controller_name"].endswith("defaults.toml"):
        remedy = "set [site] controller_name, controller_contact and dpo in fabnet.toml: reports name them"
        return Finding(name="settings", status="warn", detail="the controller is not named", remedy=remedy)
    return Finding(name="settings", status="ok", detail="the controller is named")


def _clock() -> Finding:
    now = datetime.now(UTC)
    if now < _EARLIEST or abs(time.time() - now.timestamp()) > 1:
        remedy = "set the clock; consents end by it"
        return Finding(name="clock", status="fail", detail=f"{now:%Y-%m-%d} cannot be right", remedy=remedy)
    return Finding(name="clock", status="ok", detail=f"{now:%Y-%m-%dT%H:%M:%SZ}")


def _memory() -> Finding:
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    status, remedy = ("ok", "") if gigabytes >= 4 else ("warn", "training wants 4 GB")
    return Finding(name="memory", status=status, detail=f"{gigabytes:.1f} GB", remedy=remedy)


def _core_dumps() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_CORE)
    if soft == 0:
        return Finding(name="core dumps", status="ok", detail="off")
    remedy = "run with 'ulimit -c 0': a core dump would hold frames"
    return Finding(name="core dumps", status="warn", detail="on", remedy=remedy)


def _swap() -> Finding:
    swaps = Path("/proc/swaps")
    active = swaps.read_text().splitlines()[1:] if swaps.exists() else []
    if not active:
        return Finding(name="swap", status="ok", detail="none")
    remedy = "encrypt swap or turn it off: pages of memory can reach the disk"
    return Finding(name="swap", status="warn", detail=f"{len(active)} in use", remedy=remedy)


def _temp() -> Finding:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free / 1e9
    return Finding(
        name="temp directory", status="ok", detail=f"{folder}, {free:.1f} GB free; no frame is written there"
    )


def _vault(place: Place, configuration: Configuration) -> Iterator[Finding]:
    try:
        with open_site(place, configuration.settings) as site:
            yield Finding(name="vault", status="ok", detail=str(site.root))
            yield Finding(name="key access", status="ok", detail="the key file opens the keystore, mode 0600")
            yield Finding(name="database revision", status="ok", detail=site.engine.dialect.name)
            yield _guarded("log head", lambda: _log(site))
            yield _guarded("anchor", lambda: _anchor(site))
            yield _guarded("witness", lambda: _witness(site))
            yield _guarded("key rotation", lambda: _rotation(site))
            yield _guarded("rows", lambda: _rows(site))
            yield _guarded("ledger", lambda: _ledger(site))
            yield _guarded("embeddings", lambda: _embeddings(site))
            yield _guarded("erasures", lambda: _erasures(site))
            yield _guarded("two people", lambda: _two_people(site))
            yield _guarded("backup", lambda: _backup(site))
            yield _guarded("disk", lambda: _disk(place.root))
    except FabnetError as error:
        yield Finding(name="vault", status="fail", detail=error.message, remedy=error.hint)


def _log(site: Site) -> Finding:
    from fabnet_secure.pipeline.auditing import check

    size, root, _ = check(site)
    return Finding(name="log head", status="ok", detail=f"{size} entries, root {root}")


def _anchor(site: Site) -> Finding:
    from fabnet_secure.pipeline.reanchor import standing

    found = standing(site)
    if found.problem is not None:
        return Finding(name="anchor", status="fail", detail=found.problem.message, remedy=found.problem.hint)
    if found.remembered is not None and found.remembered < found.size:
        remedy = "any act that is logged brings it up to date; see that the disk it lies on has room"
        detail = f"it remembers {found.remembered} of {found.size} entries"
        return Finding(name="anchor", status="warn", detail=detail, remedy=remedy)
    return Finding(name="anchor", status="ok", detail=f"it remembers the log's {found.size} entries")


def _witness(site: Site) -> Finding:
    from fabnet_secure.pipeline.witnessing import witness_age

    paths = [Path(one) for one in site.settings.audit.witness]
    if not paths:
        remedy = "run 'fabnet-secure audit witness' on a second host or to a USB stick, and name it in [audit] witness"
        detail = "none: whoever can rewrite databases and anchor together is not found out"
        return Finding(name="witness", status="warn", detail=detail, remedy=remedy)
    known = [witness_age(path, site.log_vkey, site.clock()) for path in paths]
    size, age = max(known, key=lambda one: (one[0], -one[1]))
    detail = f"{len(paths)} kept; the newest knows {size} entries and is {age.days} days old"
    if age > _OLD_WITNESS:
        remedy = "run 'fabnet-secure audit witness' again: what came later is not witnessed"
        return Finding(name="witness", status="warn", detail=detail, remedy=remedy)
    return Finding(name="witness", status="ok", detail=detail)


def _rotation(site: Site) -> Finding:
    from fabnet_secure.pipeline.horizon import horizon

    found = horizon(site)
    return Finding(name="key rotation", status=found.status, detail=found.detail, remedy=found.remedy)


def _rows(site: Site) -> Finding:
    from fabnet_secure.pipeline import promises
    from fabnet_secure.pipeline.wholeness import check_rows

    check_rows(site)
    with site.reading() as connection:
        promises.check(site, connection)
    detail = "every row that the log or another row tells of is there, every consent is what was recorded"
    return Finding(name="rows", status="ok", detail=detail)


def _ledger(site: Site) -> Finding:
    from fabnet_secure.pipeline.plan import check_ledger

    with site.reading() as connection:
        check_ledger(connection)
    return Finding(name="ledger", status="ok", detail="every logged reservation is there")


def _two_people(site: Site) -> Finding:
    """Hold what two people decide against the log: whose keys approve, legal holds, policies of the site's own."""
    from fabnet_secure.pipeline.adopt import check_log
    from fabnet_secure.pipeline.approvers import checked

    with site.reading() as connection:
        keys = sum(row.removed_at is None for row in checked(site, connection))
        held = len(holds.held(site, connection))
        policies = "shipped policies" if check_log(site, connection) == "none" else "policies of the site's own"
    detail = f"{keys} people can approve, {held} consents held, {policies}"
    if keys < 2:
        remedy = "enrol two people's SSH keys: fabnet-secure approval enrol ACCOUNT --ssh-key FILE.pub"
        return Finding(name="two people", status="warn", detail=detail, remedy=remedy)
    return Finding(name="two people", status="ok", detail=detail)


def _embeddings(site: Site) -> Finding:
    from fabnet_secure.pipeline.pages import census_of
    from fabnet_secure.store import embeddings

    with site.reading() as connection:
        embeddings.check(connection, census_of(site))
        waiting = embeddings.count_waiting(connection)
    detail = f"every page that was counted is there, {waiting} of them not packed yet"
    return Finding(name="embeddings", status="ok", detail=detail)


def _erasures(site: Site) -> Finding:
    from fabnet_secure.compliance.erasure import outcome_of
    from fabnet_secure.pipeline.facts import erasure

    with site.reading() as connection:
        kept = holds.held(site, connection)
    unfinished = [one.consent_id for one in erasure(site).erasures if outcome_of(one) != "complete"]
    open_ones = [one for one in unfinished if one not in kept]
    if not unfinished:
        return Finding(name="erasures", status="ok", detail="every withdrawal is carried out, read back now")
    if not open_ones:
        remedy = "end a hold that is needed no more: fabnet-secure subject release-hold"
        detail = f"{len(unfinished)} wait for a legal hold"
        return Finding(name="erasures", status="warn", detail=detail, remedy=remedy)
    remedy = "finish each: " + ", ".join(f"fabnet-secure subject withdraw {one} --confirm {one}" for one in open_ones)
    return Finding(name="erasures", status="fail", detail=f"{len(open_ones)} not complete", remedy=remedy)


def _backup(site: Site) -> Finding:
    from fabnet_secure.pipeline.trial import STALE, last_verified

    held = last_verified(site)
    if held is not None and site.clock() - held <= STALE:
        return Finding(name="backup", status="ok", detail=f"a backup was restored on trial on {held:%Y-%m-%d}")
    detail = "no backup was ever verified" if held is None else f"no backup was verified since {held:%Y-%m-%d}"
    remedy = "make one and try it: fabnet-secure backup create, fabnet-secure backup verify"
    return Finding(name="backup", status="warn", detail=detail, remedy=remedy)


def _disk(root: Path) -> Finding:
    free = shutil.disk_usage(root).free / 1e9
    status, remedy = ("ok", "") if free >= 1 else ("warn", "free some space: a full disk stops every act")
    return Finding(name="disk", status=status, detail=f"{free:.1f} GB free", remedy=remedy)
