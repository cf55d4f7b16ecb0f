from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import SettingsError
from schemas.settings import PROFILES, Settings, load_settings, setting_keys


def test_every_profile_loads() -> None:
    for profile in PROFILES.glob("*.toml"):
        assert isinstance(load_settings(profile.stem), Settings)


def test_an_assignment_overrides_the_profile() -> None:
    assignments = ["run.workers=7", "edit.strength=[0.1, 0.2]", "edit.autoencoder=w.safetensors"]
    settings = load_settings("embedded", assignments)
    assert settings.run.workers == 7
    assert settings.edit.strength == (0.1, 0.2)
    assert settings.edit.autoencoder == Path("w.safetensors")


@pytest.mark.parametrize(
    ("assignment", "named"),
    [
        ("pair.neighbors=3", "did you mean 'pair.neighbours'?"),
        ("workers=3", "did you mean 'run.workers'?"),
        ("run.workers=none", "run.workers"),
        ("run.workers=0", "run.workers"),
        ("edit.strength=[0.9, 0.1]", "low <= high"),
        ("splits.train=0.1", "add up to 1"),
        ("seed", "no '='"),
    ],
)
def test_a_wrong_assignment_is_named_with_the_nearest_right_one(assignment: str, named: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings("embedded", [assignment])
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_wrong_key_in_a_profile_file_is_named(tmp_path: Path) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text("[edit]\nstrenght = [0.1, 0.2]\n")
    with pytest.raises(SettingsError, match=r"did you mean 'edit\.strength'"):
        load_settings(str(profile))


def test_an_unknown_profile_is_named_with_the_nearest() -> None:
    with pytest.raises(SettingsError, match="did you mean 'embedded'"):
        load_settings("embeded")


def test_a_broken_profile_file_is_refused(tmp_path: Path) -> None:
    profile = tmp_path / "broken.toml"
    profile.write_text("[edit\n")
    with pytest.raises(SettingsError, match=r"broken\.toml"):
        load_settings(str(profile))


@given(st.text())
def test_any_assignment_loads_or_is_refused_in_one_line(text: str) -> None:
    try:
        load_settings("embedded", [text])
    except SettingsError as refused:
        assert str(refused)


def test_settings_survive_their_own_json() -> None:
    settings = load_settings("embedded", ["edit.strength=[0.5, 0.75]", "seed=3"])
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


def test_setting_keys_are_dotted_and_complete() -> None:
    keys = setting_keys()
    assert "edit.strength" in keys
    assert "seed" in keys
    assert len(keys) == len(set(keys))
