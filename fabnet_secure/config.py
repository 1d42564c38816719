"""Settings: what a site decides, from five places, the nearest winning.

Flag > ``FABNET_*`` > ``./fabnet.toml`` > the account's ``fabnet.toml`` > ``/etc/fabnet-secure/fabnet.toml`` > the
shipped ``policies/defaults.toml``. Only locations come from the environment (vault, key file, database); everything
else is in a file. Unknown keys are errors. No setting holds a secret: the key file's *path* is one, not its contents.

The *guard tables* (:data:`GUARDS`) limit whoever asks, so whoever asks does not set them: they come from the shipped
values, the system's file and ``<vault>/fabnet.toml``, which holds nothing else, and are an error in the account's file
and in the folder's. Does not guard against somebody who can write the vault's directory or runs another program.
"""

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fabnet_secure.access.premises import check_open_hours
from fabnet_secure.consent.duration import parse_duration
from fabnet_secure.errors import UsageError
from fabnet_secure.types import canonical_json

GUARDS: Final = frozenset({"keys", "query", "audit", "access", "approvals", "backup"})
"""Tables that only whoever runs the vault sets: in its own file, or the system's."""
SYSTEM: Final = Path("/etc/fabnet-secure/fabnet.toml")
NAME: Final = "fabnet.toml"


def _period(text: str) -> str:
    try:
        parse_duration(text)
    except UsageError as error:
        raise ValueError(error.message) from error
    return text


def _open_hours(hours: tuple[int, int]) -> tuple[int, int]:
    try:
        return check_open_hours(hours)
    except UsageError as error:
        raise ValueError(f"{error.message} ({error.hint})") from error


Period = Annotated[str, AfterValidator(_period)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
Offset = Annotated[float, Field(ge=0, lt=1)]
Extent = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SiteTable(_Table):
    """Who is responsible (GDPR Article 30(1)(a))."""

    controller_name: Annotated[str, Field(min_length=1, max_length=200)]
    controller_address: str
    controller_contact: str
    dpo: str
    jurisdictions: tuple[str, ...]


class IngestTable(_Table):
    """What counts as a face, a track and a second person, and how long crops live."""

    detector_score: Share
    detector_long_side: Annotated[int, Field(ge=64, le=4096)]
    detector_interval: Annotated[int, Field(ge=1, le=30)]
    min_track_frames: Count
    min_face_px: Annotated[int, Field(ge=24, le=4096)]
    primary_track: Literal["quarantine", "largest"]
    max_faces: Count
    max_bystander_share: Annotated[float, Field(ge=0, le=1)]
    unknown_camera: Literal["allow", "quarantine"]
    quarantine_period: Period
    crop_size: Annotated[int, Field(ge=32, le=512)]
    crops_per_second: Positive
    frames_per_tracklet: Annotated[int, Field(ge=2, le=1024)]
    tracklet_budget_kib: Annotated[int, Field(ge=16, le=1_048_576)]
    video_budget_mib: Annotated[int, Field(ge=1, le=65_536)]
    tracklet_retention: Period
    source_disposition: Literal["keep", "delete"]
    unencrypted_swap: Literal["warn", "refuse"]
    live_max_seconds: Positive
    inbox_settle_seconds: Positive


class RegionTable(_Table):
    """A seat: a fixed part of a camera's picture in which one person is."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    box: tuple[Offset, Offset, Extent, Extent]
    consent: str = ""


class CameraTable(_Table):
    """A camera that the site knows: which sources are its, and the seats before it."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    sources: tuple[str, ...] = ()
    region: tuple[RegionTable, ...] = ()


class TrainTable(_Table):
    """The public values of a private training run."""

    image_size: Literal[64, 128, 256]
    width: Positive
    embedding_dim: Annotated[int, Field(ge=8, le=1024)]
    clipping_norm: Positive
    learning_rate: Positive
    tuples_per_person: Count
    steps: Count
    default_epsilon_cap: Positive


class KeysTable(_Table):
    """How long a destroyed key may still be opened by an old copy of the keystore."""

    rotation_period: Period


class QueryTable(_Table):
    """What a question may cost and what it may tell."""

    daily_budget: Count
    memory_limit_mib: Annotated[int, Field(ge=1, le=1_048_576)]
    min_people: Annotated[int, Field(ge=20, le=1_000_000)]
    stats_epsilon_max: Positive


class AuditTable(_Table):
    """Where checkpoints are remembered off this vault."""

    witness: tuple[str, ...]


class AccessTable(_Table):
    """What the access policies are told of this place."""

    site: Annotated[str, Field(max_length=100)]
    open_hours: Annotated[tuple[int, int], AfterValidator(_open_hours)]


class ApprovalsTable(_Table):
    """How long what two people approve may wait."""

    valid_for: Period


class BackupTable(_Table):
    """Whose age keys open a backup."""

    recipients: tuple[str, ...]


class Settings(_Table):
    """Everything a site decides."""

    site: SiteTable
    ingest: IngestTable
    train: TrainTable
    keys: KeysTable
    query: QueryTable
    audit: AuditTable
    access: AccessTable
    approvals: ApprovalsTable
    backup: BackupTable
    camera: tuple[CameraTable, ...] = ()

    def canonical(self) -> bytes:
        """Return the canonical JSON of the values in force: what the policy hash is taken over."""
        return canonical_json(self.model_dump(mode="json"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One place that settings came from."""

    origin: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The settings in force and where each came from (``section.key`` → origin)."""

    settings: Settings
    origins: Mapping[str, str]


def policies_dir() -> Path:
    """Find the shipped policies: inside a wheel, or at the root of a checkout."""
    package = Path(__file__).parent
    inside = package / "_policies"
    return inside if inside.is_dir() else package.parent / "policies"


def load(paths: Sequence[Path] | None = None, *, vault: Path | None = None) -> Configuration:
    """Read and merge every layer, farthest first.

    Args:
        paths: files to read after the shipped defaults; by default the system's, the account's, ``./fabnet.toml``.
        vault: the directory of the vault that the settings are for; the guard tables of its file are read last.

    Raises:
        UsageError: code ``CONFIG_INVALID``: a file cannot be read, is not TOML, has an unknown key or a value out of
            range; ``CONFIG_PLACE``: a guard table stands in another place than the system's or the vault's file, or
            another table in the vault's.
    """
    shipped = policies_dir() / "defaults.toml"
    layers = [Layer(origin=str(shipped), values=_parsed(shipped))]
    own = None if vault is None else vault / NAME
    for path in default_paths() if paths is None else paths:
        if own is not None and path.resolve() == own.resolve():
            continue  # one stands in the vault's directory: its file is read as what it is, once
        if path.exists():
            layers.append(_read(path, vault=own))
    if own is not None and _is_there(own):
        layers.append(_read(own, vault=own))
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for layer in layers:
        for section, table in layer.values.items():
            if section == "camera":  # a list: the nearest file's cameras are the site's cameras
                merged[section] = table
                origins[section] = layer.origin
                continue
            if not isinstance(table, Mapping):
                raise UsageError(f"{layer.origin}: '{section}' is not a table", code="CONFIG_INVALID")
            merged.setdefault(section, {}).update(table)
            origins[section] = layer.origin
            origins.update({f"{section}.{key}": layer.origin for key in table})
    try:
        settings = Settings.model_validate(merged)
        return Configuration(
            settings=settings, origins={key: origins[key] for key in origins if "." in key or key == "camera"}
        )
    except ValidationError as error:
        raise _explained(error, origins) from error


def default_paths() -> tuple[Path, ...]:
    """Return the files read by default, farthest first."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return (
        SYSTEM,
        home / "fabnet-secure" / NAME,
        Path(NAME),
    )


def _read(path: Path, *, vault: Path | None) -> Layer:
    """Read one site's file; ``vault`` is the vault's own."""
    values = _parsed(path)
    if path == vault:
        if odd := sorted(set(values) - GUARDS):
            raise UsageError(
                f"{path}: '{odd[0]}' is not set in the vault's own file",
                hint=f"write it into {SYSTEM}, the account's file or ./{NAME}; here stand {_listed(GUARDS)} alone",
                code="CONFIG_PLACE",
            )
    elif path.resolve() != SYSTEM.resolve() and (odd := sorted(set(values) & GUARDS)):
        raise UsageError(
            f"{path}: [{odd[0]}] limits whoever asks, and is set by whoever runs the vault",
            hint=f"write it into {'<vault>/' + NAME if vault is None else vault}",
            code="CONFIG_PLACE",
        )
    return Layer(origin=str(path), values=values)


def _is_there(own: Path) -> bool:
    try:
        return own.exists()
    except OSError:  # a directory that may not be entered, which no vault opens from
        return False


def _listed(names: frozenset[str]) -> str:
    return ", ".join(f"[{name}]" for name in sorted(names))


def _parsed(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read the settings in {path}", hint=str(error), code="CONFIG_INVALID") from error


def _explained(error: ValidationError, origins: Mapping[str, str]) -> UsageError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"][:2])
    where = origins.get(key, "the settings")
    return UsageError(
        f"{where}: '{key}': {first['msg']}",
        hint="see policies/defaults.toml for every key; 'fabnet-secure config show' prints what is in force",
        code="CONFIG_INVALID",
    )
