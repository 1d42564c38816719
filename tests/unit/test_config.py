"""Settings: five places, the nearest winning; unknown keys and bad values are errors."""

import json
from pathlib import Path

import pytest

from fabnet_secure import config
from fabnet_secure.config import GUARDS, default_paths, load, policies_dir
from fabnet_secure.errors import UsageError


def _file(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_the_shipped_values_stand_alone():
    """Without any file of the site's every setting is there, and its origin is the shipped file."""
    found = load([])
    assert found.settings.ingest.primary_track == "quarantine"
    values = found.settings.model_dump()
    assert set(found.origins) == {f"{section}.{key}" for section, table in values.items() for key in table}
    assert set(found.origins.values()) == {str(policies_dir() / "defaults.toml")}


def test_the_nearest_file_wins_key_by_key(tmp_path):
    """A nearer file replaces single keys, not whole tables, and each key says where it came from."""
    far = _file(tmp_path / "far.toml", "[train]\nsteps = 7\nwidth = 0.5\n")
    near = _file(tmp_path / "near.toml", "[train]\nsteps = 9\n")
    found = load([far, near])
    assert (found.settings.train.steps, found.settings.train.width) == (9, 0.5)
    assert found.origins["train.steps"] == str(near)
    assert found.origins["train.width"] == str(far)
    assert found.origins["train.image_size"].endswith("defaults.toml")


def test_a_file_that_is_not_there_is_no_matter(tmp_path):
    """Missing files are left out."""
    assert load([tmp_path / "nowhere.toml"]) == load([])


def test_where_files_are_looked_for(monkeypatch, tmp_path):
    """The system's, then the account's, then the folder one works in."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert default_paths() == (
        Path("/etc/fabnet-secure/fabnet.toml"),
        tmp_path / "config" / "fabnet-secure" / "fabnet.toml",
        Path("fabnet.toml"),
    )
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_paths()[1] == tmp_path / ".config" / "fabnet-secure" / "fabnet.toml"


def test_the_folder_wins_over_the_account(monkeypatch, tmp_path):
    """./fabnet.toml is nearer than the account's file."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    _file(tmp_path / "config" / "fabnet-secure" / "fabnet.toml", "[train]\nsteps = 7\n[ingest]\nmax_faces = 2\n")
    work = _file(tmp_path / "work" / "fabnet.toml", "[train]\nsteps = 9\n")
    monkeypatch.chdir(work.parent)
    found = load()
    assert (found.settings.train.steps, found.settings.ingest.max_faces) == (9, 2)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[train]\nstep = 3\n", "train.step"),
        ("[training]\nsteps = 3\n", "training"),
        ("steps = 3\n", "steps"),
        ("[train]\nsteps = 0\n", "train.steps"),
        ("[train]\nsteps = 2.5\n", "train.steps"),
        ('[train]\nsteps = "many"\n', "train.steps"),
        ("[train]\nimage_size = 100\n", "train.image_size"),
        ("[train]\nclipping_norm = nan\n", "train.clipping_norm"),
        ("[train]\nlearning_rate = inf\n", "train.learning_rate"),
        ("[train]\ndefault_epsilon_cap = -1.0\n", "train.default_epsilon_cap"),
        ("[ingest]\ndetector_score = 1.5\n", "ingest.detector_score"),
        ('[ingest]\nprimary_track = "both"\n', "ingest.primary_track"),
        ('[ingest]\ntracklet_retention = "soon"\n', "ingest.tracklet_retention"),
        ('[ingest]\ntracklet_retention = "P0D"\n', "ingest.tracklet_retention"),
        ('[site]\ncontroller_name = ""\n', "site.controller_name"),
        ('[site]\nkey = "hunter2"\n', "site.key"),
    ],
)
def test_bad_settings_are_named(tmp_path, text, named):
    """An unknown key, a wrong kind or a value out of range: CONFIG_INVALID with the key and its file."""
    file = _file(tmp_path / "fabnet.toml", text)
    with pytest.raises(UsageError) as caught:
        load([file])
    assert caught.value.code == "CONFIG_INVALID"
    assert f"'{named}'" in caught.value.message
    assert str(file) in caught.value.message
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[access]\nopen_hours = [8, 8]\n", "access.open_hours"),
        ("[access]\nopen_hours = [8, 25]\n", "access.open_hours"),
        ("[access]\nopen_hours = [24, 6]\n", "access.open_hours"),
        ("[access]\nopen_hours = [8]\n", "access.open_hours"),
        ('[access]\nopen_hours = ["8:00", "18:00"]\n', "access.open_hours"),
        ("[access]\nsite = 7\n", "access.site"),
        ("[query]\ndaily_limit = 7\n", "query.daily_limit"),
    ],
)
def test_bad_limits_are_named(tmp_path, text, named):
    """The vault's file is read as strictly as the others."""
    file = _file(tmp_path / "vault" / "fabnet.toml", text)
    with pytest.raises(UsageError) as caught:
        load([], vault=tmp_path / "vault")
    assert caught.value.code == "CONFIG_INVALID"
    assert f"{file}: '{named}'" in caught.value.message


@pytest.mark.parametrize("guard", sorted(GUARDS))
def test_limits_stand_in_the_vault_s_or_the_system_s_file_alone(tmp_path, monkeypatch, guard):
    """In a file of whoever asks a guard table is an error, even an empty one; other tables are one in the vault's."""
    text = f"[{guard}]\n"
    mine, vault = _file(tmp_path / "fabnet.toml", text), tmp_path / "vault"
    for where, hint in ((None, "<vault>/fabnet.toml"), (vault, str(vault / "fabnet.toml"))):
        with pytest.raises(UsageError) as caught:
            load([mine], vault=where)
        assert (caught.value.code, caught.value.exit_code) == ("CONFIG_PLACE", 2)
        assert caught.value.hint == f"write it into {hint}"
    _file(vault / "fabnet.toml", text)
    load([], vault=vault)
    monkeypatch.setattr(config, "SYSTEM", mine)
    load([mine], vault=vault)
    _file(vault / "fabnet.toml", "[train]\nsteps = 9\n")
    with pytest.raises(UsageError) as caught:
        load([], vault=vault)
    assert caught.value.code == "CONFIG_PLACE"


def test_the_vault_s_file_wins_over_the_system_s(tmp_path, monkeypatch):
    """Key by key, with its origin; and one who stands in the vault's directory reads its file as the vault's."""
    system = _file(tmp_path / "system.toml", "[query]\ndaily_budget = 5\nmin_people = 50\n")
    own = _file(tmp_path / "vault" / "fabnet.toml", "[query]\ndaily_budget = 6\n")
    monkeypatch.setattr(config, "SYSTEM", system)
    monkeypatch.chdir(own.parent)
    found = load([system, Path("fabnet.toml")], vault=own.parent)
    assert (found.settings.query.daily_budget, found.settings.query.min_people) == (6, 50)
    assert found.origins["query.daily_budget"] == str(own)
    assert found.settings.canonical() != load([system]).settings.canonical()


def test_every_guard_is_a_table():
    """No guard is misspelt."""
    assert set(config.Settings.model_fields) > GUARDS


@pytest.mark.parametrize("content", [b"[train\n", b"\xff\xfe", b"[train]\nsteps = 1\nsteps = 2\n"])
def test_a_file_that_is_no_toml(tmp_path, content):
    """What cannot be parsed is refused with the file's name."""
    file = tmp_path / "fabnet.toml"
    file.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        load([file])
    assert str(file) in caught.value.message


def test_a_settings_file_that_may_not_be_read(tmp_path):
    """A folder in the file's place is not passed over."""
    (tmp_path / "fabnet.toml").mkdir()
    with pytest.raises(UsageError):
        load([tmp_path / "fabnet.toml"])


def test_the_canonical_form_is_of_the_values(tmp_path):
    """What the policy hash is taken over says the values in force, wherever they came from."""
    same = _file(tmp_path / "same.toml", "[train]\nsteps = 40\n")
    other = _file(tmp_path / "other.toml", "[train]\nsteps = 41\n")
    assert load([same]).settings.canonical() == load([]).settings.canonical()
    assert load([other]).settings.canonical() != load([]).settings.canonical()
    assert json.loads(load([]).settings.canonical())["train"]["steps"] == 40


def test_cameras_come_from_the_nearest_file_as_a_whole(tmp_path):
    """A list is not merged: the file that names cameras names all of them; a bad region names its place."""
    far, near = tmp_path / "far.toml", tmp_path / "near.toml"
    far.write_text('[[camera]]\nname = "a"\n[[camera]]\nname = "b"\n', "utf-8")
    near.write_text('[[camera]]\nname = "c"\n[[camera.region]]\nname = "left"\nbox = [0, 0, 0.5, 1]\n', "utf-8")
    found = load([far, near])
    assert [camera.name for camera in found.settings.camera] == ["c"]
    assert found.origins["camera"] == str(near)
    near.write_text('[[camera]]\nname = "c"\n[[camera.region]]\nname = "left"\nbox = [0, 0, 5, 1]\n', "utf-8")
    with pytest.raises(UsageError, match="camera"):
        load([far, near])
