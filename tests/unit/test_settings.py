"""The table of settings: its names, its help, and the values it reads."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import ConfigError
from sidecar.settings import SETTINGS, Setting, help_entries

BY_KEY: Mapping[str, Setting] = {setting.key: setting for setting in SETTINGS}
DURATIONS = [setting for setting in SETTINGS if setting.metavar == "DURATION"]
COMMANDS = ("run", "wait", "status", "plan", "resolve", "config")


def parsed(key: str, text: str) -> object:
    """What `text` means for the setting `key`."""
    return BY_KEY[key].parse(text, variable="THE_NAME")


def mistake(key: str, text: str) -> str:
    """The one thing that is wrong with `text` for the setting `key`."""
    with pytest.raises(ConfigError) as caught:
        parsed(key, text)
    (only,) = caught.value.mistakes
    assert only.startswith("THE_NAME: ")
    return only.removeprefix("THE_NAME: ")


# --- durations ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("1ms", 0.001),
        ("5s", 5.0),
        ("2m", 120.0),
        ("1h", 3600.0),
        ("1m30s", 90.0),
        ("1h1m1s1ms", 3661.001),
        ("90s", 90.0),
        ("0s", 0.0),
        ("596h", 2145600.0),
    ],
)
def test_a_duration_is_a_number_with_its_unit(text: str, seconds: float) -> None:
    """Durations have units: ms, s, m, h, alone or the larger before the smaller."""
    assert parsed("wait_timeout", text) == seconds


@given(st.integers(0, 300), st.integers(0, 10_000), st.integers(0, 100_000), st.integers(0, 10**6))
def test_a_duration_is_exact_to_the_millisecond(h: int, m: int, s: int, ms: int) -> None:
    """What is written is what is waited for."""
    text = f"{h}h{m}m{s}s{ms}ms"
    assert parsed("wait_timeout", text) == (((h * 60 + m) * 60 + s) * 1000 + ms) / 1000


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("60", "'60' has no unit; write 60s or 60ms"),
        ("0", "'0' has no unit; write 0s or 0ms"),
        ("-5s", "negative"),
        ("-inf", "negative"),
        ("nan", "is no duration"),
        ("inf", "is no duration"),
        ("1e3s", "is no duration"),
        ("1.5s", "whole numbers"),
        ("5 s", "is no duration"),
        ("5S", "is no duration"),
        ("5d", "is no duration"),
        ("30s1m", "is no duration"),
        ("\u0665s", "is no duration"),
        ("s", "is no duration"),
        ("597h", "too long"),
        ("9" * 12 + "h", "too long"),
        ("9" * 9999 + "s", "is no duration"),
        ("9" * 9999, "is no duration"),
    ],
)
def test_anything_else_is_no_duration(text: str, says: str) -> None:
    """A bare number, a sign, a fraction, another order or unit is rejected with a hint."""
    assert says in mistake("wait_timeout", text)


@given(st.text(min_size=1, max_size=12))
def test_a_duration_is_read_or_refused_and_never_negative(text: str) -> None:
    """No text makes a duration that is not a number of seconds from 0 to PostgreSQL's largest."""
    try:
        seconds = parsed("wait_timeout", text)
    except ConfigError:
        return
    assert isinstance(seconds, float)
    assert 0 <= seconds <= 2_147_483.647


@pytest.mark.parametrize("text", ["0s", "0ms", "0h0m"])
def test_lock_timeout_cannot_be_switched_off(text: str) -> None:
    """No DDL waits for a lock without limit, which is how PostgreSQL reads 0."""
    assert "wait for ever" in mistake("lock_timeout", text)
    assert parsed("lock_timeout", "1ms") == 0.001
    assert parsed("statement_timeout", text) == 0


# --- booleans, choices, names ------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        *((text, True) for text in ("true", "1", "yes", "TRUE", "Yes")),
        *((text, False) for text in ("false", "0", "no", "FALSE", "No")),
    ],
)
def test_a_boolean_is_one_of_six_words(text: str, *, truth: bool) -> None:
    """true, 1, yes and false, 0, no, in any case."""
    assert parsed("allow_standby", text) is truth


@pytest.mark.parametrize("text", ["2", "on", "y", "t", "truee"])
def test_any_other_boolean_is_refused(text: str) -> None:
    """Nothing else is taken for true or false."""
    assert "is not one of: true, 1, yes, false, 0, no" in mistake("allow_standby", text)


@pytest.mark.parametrize("key", ["policy", "shadow", "log_format", "log_level", "on_diverged"])
def test_a_choice_accepts_what_its_help_shows_and_nothing_else(key: str) -> None:
    """The words in the help are the words that are accepted."""
    words = BY_KEY[key].metavar.split("|")
    assert len(words) > 1
    assert [parsed(key, word) for word in words] == words
    assert f"'other' is not one of: {', '.join(words)}" in mistake(key, "other")


@pytest.mark.parametrize(
    ("key", "action"),
    [
        ("on_nothing_applied", "mark-applied"),
        ("on_partly_applied", "mark-applied"),
        ("on_partly_applied", "reapply"),
        ("on_fully_applied", "rebuild"),
        ("on_undetermined", "resume"),
        ("on_script_missing", "mark-rolled-back"),
    ],
)
def test_an_action_that_cannot_be_proven_is_refused_with_the_reason(key: str, action: str) -> None:
    """A senseless pair of finding and action is a mistake which names the sound ones."""
    allowed = ", ".join(BY_KEY[key].metavar.split("|"))
    text = mistake(key, action)
    assert text.startswith(f"{action} is not safe for {key[3:].replace('_', '-')}")
    assert text.endswith(f"could not be proven; allowed: {allowed}")


@pytest.mark.parametrize(
    "key", ["policy", "wait_timeout", "allow_standby", "on_diverged", "report_file", "config"]
)
def test_a_url_in_the_wrong_place_is_not_printed(key: str) -> None:
    """A connection string given to the wrong variable keeps its password to itself."""
    assert "hunter2" not in mistake(key, "postgresql://ada:hunter2@db/shop")


def test_a_path_with_a_nul_is_refused() -> None:
    """No file has such a name; it is said here and not by a crash later."""
    assert "NUL" in mistake("report_file", "a\0b")


# --- names and help ----------------------------------------------------------------


def test_every_name_is_unique_and_ours_start_with_sidecar() -> None:
    """One key, one flag, one variable; only the URLs and the engine have names of others."""
    assert len({setting.key for setting in SETTINGS}) == len(SETTINGS)
    assert len({setting.variable for setting in SETTINGS}) == len(SETTINGS)
    foreign = {s.variable for s in SETTINGS if not s.variable.startswith("SIDECAR_")}
    prismas = {"DATABASE_URL", "DIRECT_URL", "SHADOW_DATABASE_URL"}
    assert foreign == prismas | {"DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"}
    assert {s.variable for s in SETTINGS if s.secret and s.file_variant} == prismas


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_every_default_is_a_value_that_could_be_given(setting: Setting) -> None:
    """A default is read like any other text."""
    if setting.default is not None:
        setting.parse(setting.default, variable=setting.variable)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_every_setting_is_offered_by_a_command_that_exists(setting: Setting) -> None:
    """No setting is unreachable, and `config` shows every one of them."""
    assert "config" in setting.commands
    assert setting.commands <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_flag_variable_key_and_default(command: str) -> None:
    """`--help` of every command names all three, the default, and the `*_FILE` variants."""
    entries = {entry.key: entry for entry in help_entries(command)}
    offered = [setting for setting in SETTINGS if command in setting.commands]
    assert offered
    for setting in offered:
        entry = entries.pop(setting.key)
        assert entry.flag == "--" + setting.key.replace("_", "-")
        assert f"[env: {setting.variable}]" in entry.help
        assert (f"[file: {setting.key}]" in entry.help) == (setting.key != "config")
        default = f"[default: {setting.default}]"
        assert (default in entry.help) == (setting.default is not None)
        is_boolean = setting.key in {"allow_standby", "show_values", "docker_required"}
        assert (entry.bare == "true") == is_boolean
        if setting.file_variant:
            file = entries.pop(f"{setting.key}_file")
            assert file.flag == f"{setting.flag}-file"
            assert f"[env: {setting.variable}_FILE] [file: {setting.key}_file]" in file.help
    assert not entries


def test_the_demo_needs_no_settings() -> None:
    """`demo` brings its own PostgreSQL and asks for none of these settings."""
    assert help_entries("demo") == ()


def test_the_durations_are_those_of_the_readme() -> None:
    """Every timeout has a unit in its default."""
    assert {setting.key: setting.default for setting in DURATIONS} == {
        "wait_timeout": "60s",
        "login_grace": "10s",
        "busy_timeout": "60s",
        "lock_timeout": "5s",
        "repair_timeout": "60s",
        "statement_timeout": "0s",
        "restart_timeout": "60s",
    }
