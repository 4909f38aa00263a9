"""Flags, environment and files become one configuration, or a list of every mistake."""

from __future__ import annotations

from dataclasses import fields
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config import effective, load
from sidecar.dsn import parse
from sidecar.errors import ConfigError
from sidecar.model import Action, DataStatements, FindingName, Policy, Preset
from sidecar.settings import SETTINGS, Setting
from tests.settings import ENVIRON, URL, Files, Flags, loaded, mistakes, shown

# One value of each setting for the flag, the environment and the file, none the default.
THREE = {
    "database_url": ("postgresql://a/flag", "postgresql://a/env", "postgresql://a/file"),
    "direct_url": ("postgresql://b/flag", "postgresql://b/env", "postgresql://b/file"),
    "shadow_database_url": ("postgresql://c/flag", "postgresql://c/env", "postgresql://c/file"),
    "migrations_dir": ("flag", "env", "file"),
    "ledger_schema": ("flag", "env", "file"),
    "policy": ("observe", "ledger", "rebuild"),
    "on_nothing_applied": ("halt", "mark-rolled-back", "reapply"),
    "on_partly_applied": ("halt", "rebuild", "resume"),
    "on_fully_applied": ("halt", "mark-applied", "halt"),
    "on_diverged": ("rebuild", "halt", "rebuild"),
    "on_undetermined": ("halt", "halt", "halt"),
    "on_script_missing": ("halt", "halt", "halt"),
    "data_statements": ("assume-run", "assume-not-run", "assume-run"),
    "approve": ("flag", "env", "file"),
    "shadow": ("server", "embedded", "none"),
    "embedded_dir": ("flag", "env", "file"),
    "wait_timeout": ("1s", "2s", "3s"),
    "login_grace": ("1s", "2s", "3s"),
    "allow_standby": ("yes", "1", "true"),
    "busy_timeout": ("1s", "2s", "3s"),
    "lock_timeout": ("1s", "2s", "3s"),
    "repair_timeout": ("1s", "2s", "3s"),
    "statement_timeout": ("1s", "2s", "3s"),
    "show_values": ("yes", "1", "true"),
    "restart_services": ("flag,b", "env,b", "file,b"),
    "restart_timeout": ("1s", "2s", "3s"),
    "postgres_service": ("flag", "env", "file"),
    "compose_project": ("flag", "env", "file"),
    "docker_required": ("yes", "1", "true"),
    "docker_host": ("unix:///flag", "unix:///env", "unix:///file"),
    "docker_tls_verify": ("1", "2", "3"),
    "docker_cert_path": ("flag", "env", "file"),
    "report_file": ("flag", "env", "file"),
    "termination_log": ("flag", "env", "file"),
    "log_format": ("json", "text", "json"),
    "log_level": ("debug", "warning", "error"),
}
ELSEWHERE = {"config", "policy_file"}  # files themselves: tested on their own below
ROWS = [setting for setting in SETTINGS if setting.key not in ELSEWHERE]


# --- precedence --------------------------------------------------------------------


def test_the_table_below_names_every_setting() -> None:
    """A new setting needs its own row here."""
    assert set(THREE) == {setting.key for setting in ROWS}


@pytest.mark.parametrize("setting", ROWS, ids=lambda setting: setting.key)
@pytest.mark.parametrize("level", ["flag", "environment", "file", "default"])
def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(
    setting: Setting, level: str
) -> None:
    """Precedence flag > environment > file > default, for every setting."""
    by_flag, by_variable, by_file = THREE[setting.key]
    place = ["flag", "environment", "file", "default"].index(level)
    flags = {"config": "c.toml", setting.key: by_flag if place < 1 else None}
    environ = {setting.variable: by_variable if place < 2 else " "}
    files = {"c.toml": f'{setting.key} = "{by_file}"' if place < 3 else ""}
    text = [by_flag, by_variable, by_file, setting.default or ""][place]
    source = [
        f"flag {setting.flag}",
        f"environment {setting.variable}",
        f"file c.toml {setting.key}",
        "default",
    ][place]
    row = shown(flags, ENVIRON | environ, files)[setting.key]
    value = parse(text, variable="x").display if setting.secret and text else text
    assert (row.value, row.source) == (value, source)


@pytest.mark.parametrize("setting", ROWS, ids=lambda setting: setting.key)
def test_what_is_shown_is_what_is_used(setting: Setting) -> None:
    """Every field of the configuration holds the value that was given for it."""
    text = THREE[setting.key][0]
    config = loaded({setting.key: text})
    value = setting.parse(text, variable="x")
    match setting.key:
        case "database_url":
            assert config.backend_target == config.target == value
        case "direct_url":
            assert config.target == value != config.backend_target
        case "shadow_database_url":
            assert config.shadow_target == value
        case "data_statements":
            assert config.policy.data_statements == value
        case "policy":
            assert config.policy == Policy(Preset.OBSERVE)
        case key if key.startswith("on_"):
            finding = FindingName(key[3:].replace("_", "-"))
            assert config.policy.by_finding == {finding: value}
        case _:
            assert getattr(config, setting.field) == value


def test_with_nothing_but_the_url_every_default_holds() -> None:
    """DATABASE_URL is the only setting that must be given."""
    config = loaded()
    assert config.target is config.backend_target
    rest = {field.name: getattr(config, field.name) for field in fields(config)}
    assert rest == {
        "target": config.target,
        "backend_target": config.target,
        "shadow_target": None,
        "policy": Policy(Preset.FORWARD),
        "migrations_dir": "prisma/migrations",
        "ledger_schema": None,
        "approve": None,
        "shadow": "auto",
        "embedded_dir": None,
        "wait_timeout_s": 60.0,
        "login_grace_s": 10.0,
        "allow_standby": False,
        "busy_timeout_s": 60.0,
        "lock_timeout_s": 5.0,
        "repair_timeout_s": 60.0,
        "statement_timeout_s": 0.0,
        "show_values": False,
        "restart_services": None,
        "restart_timeout_s": 60.0,
        "postgres_service": None,
        "compose_project": None,
        "docker_required": False,
        "docker_host": None,
        "docker_tls_verify": None,
        "docker_cert_path": None,
        "report_file": None,
        "termination_log": "/dev/termination-log",
        "log_format": "auto",
        "log_level": "info",
    }


def test_direct_url_is_for_the_repair_and_database_url_for_the_backend() -> None:
    """DIRECT_URL wins for reading and repair; what the backend uses stays what is waited for."""
    config = loaded(environ={"DATABASE_URL": URL, "DIRECT_URL": "postgresql://ada@direct/shop"})
    assert (config.target.host, config.backend_target.host) == ("direct", "db")


def test_a_policy_of_several_sources_is_one_value() -> None:
    """Preset and exceptions come together from wherever each was given."""
    policy = loaded({"policy": "rebuild"}, ENVIRON | {"SIDECAR_ON_DIVERGED": "halt"}).policy
    assert policy == Policy(Preset.REBUILD, {FindingName.DIVERGED: Action.HALT})


def test_what_is_known_of_data_statements_is_said_for_all_or_for_one_migration() -> None:
    """A migration's own word in a file stands beside the general one."""
    files = {"p.toml": '[migrations.a]\ndata_statements = "assume-run"'}
    policy = loaded(environ=ENVIRON | {"SIDECAR_POLICY_FILE": "p.toml"}, files=files).policy
    assert policy.data_statements is DataStatements.HALT
    assert policy.data_statements_of == {"a": DataStatements.ASSUME_RUN}
    found = mistakes({"config": "c.toml"}, files={"c.toml": '[migrations.a]\ndata_statements="no"'})
    assert [mistake.partition(": ")[2] for mistake in found] == [
        "'no' is not one of: halt, assume-not-run, assume-run"
    ]


# --- mistakes ----------------------------------------------------------------------


def test_every_mistake_is_reported_at_once_with_its_name() -> None:
    """One start is enough to learn everything that must be corrected."""
    found = mistakes(
        {"config": "c.toml", "wait_timeout": "60", "approve": "", "polcy": "forward"},
        {
            "DATABASE_URL": "postgresql://ada@db/shop?pgbouncer=yes",
            "DIRECT_URL_FILE": "/run/secrets/direct",
            "SIDECAR_ALLOW_STANDBY": "perhaps",
            "SIDECAR_WAIT_TIMEUT": "60s",
            "SIDECAR_ON_DIVERGED": "mark-applied",
        },
        {"c.toml": 'lock_timeout = "0s"\nrepair_timout = "1s"\n[migrations.x]\naction = "go"'},
    )
    assert sorted(found) == [
        "--approve: is empty",
        "--wait-timeout: '60' has no unit; write 60s or 60ms",
        "DATABASE_URL: pgbouncer is neither true nor false",
        "DIRECT_URL_FILE: cannot read '/run/secrets/direct': No such file or directory",
        "SIDECAR_ALLOW_STANDBY: 'perhaps' is not one of: true, 1, yes, false, 0, no",
        (
            "SIDECAR_ON_DIVERGED: mark-applied is not safe for diverged, its result could not be"
            " proven; allowed: rebuild, halt"
        ),
        "c.toml lock_timeout: 0 would wait for ever; write at least 1ms",
        (
            "c.toml migrations.\"x\".action: 'go' is not one of: resume, reapply, rebuild,"
            " mark-applied, mark-rolled-back, halt"
        ),
        "c.toml: unknown key repair_timout; did you mean repair_timeout?",
        "unknown flag --polcy; did you mean --policy?",
        "unknown variable SIDECAR_WAIT_TIMEUT; did you mean SIDECAR_WAIT_TIMEOUT?",
    ]


@pytest.mark.parametrize("environ", [{}, {"DATABASE_URL": ""}, {"DATABASE_URL": "  "}])
def test_without_a_url_nothing_can_be_done(environ: dict[str, str]) -> None:
    """A missing DATABASE_URL is named, with every other way to give it; an empty one is missing."""
    (only,) = mistakes(environ=environ)
    assert only.startswith("DATABASE_URL: is not set")
    assert "DATABASE_URL_FILE" in only


def test_config_shows_settings_before_there_is_a_url() -> None:
    """`config` needs no DATABASE_URL."""
    assert shown(environ={})["database_url"].value == ""


def test_config_refuses_what_run_would_refuse() -> None:
    """`config` is a check too: it lists the same mistakes instead of half a table."""
    with pytest.raises(ConfigError) as caught:
        shown({"wait_timeout": "60"})
    assert caught.value.mistakes == mistakes({"wait_timeout": "60"})


def test_a_shadow_by_url_needs_the_url() -> None:
    """`shadow = url` without SHADOW_DATABASE_URL is a mistake that names both."""
    (only,) = mistakes(environ=ENVIRON | {"SIDECAR_SHADOW": "url"})
    assert only == "SIDECAR_SHADOW: 'url' needs SHADOW_DATABASE_URL, which is not set"
    url = "postgresql://shadow/empty"
    assert loaded({"shadow": "url", "shadow_database_url": url}).shadow_target


# --- secrets -----------------------------------------------------------------------

CHARACTERS = "abcdefghijkmnpqrstuvwxyz0123456789!$&()*+,;=:/?#@% ü\"'\\"
MARK = "hunter2"
secrets = st.text(CHARACTERS, max_size=12).map(lambda middle: f"{MARK}{middle}{MARK}")
keys = st.sampled_from(["database_url", "direct_url", "shadow_database_url"])
ports = st.sampled_from(["", "5433", "wrong"])


@given(keys, secrets, st.sampled_from([quote, str]), ports)
def test_no_secret_is_ever_shown(key: str, secret: str, encode: type[str], port: str) -> None:
    """No part of a password reaches a mistake, `config` or a repr, however it is given."""
    url = f"postgresql://ada:{encode(secret)}@db:{port}/shop?sslpassword={encode(secret)}"
    for flags, environ, text in ways_to_give(key, url):
        read = Files({"/secret": url, "c.toml": text}).read
        for function in (load, effective):
            try:
                output = repr(function(flags, ENVIRON | environ, read_text=read))
            except ConfigError as error:
                output = "\n".join((str(error), *error.mistakes, *error.next_steps))
            assert MARK not in output


def ways_to_give(key: str, url: str) -> list[tuple[Flags, dict[str, str], str]]:
    """Flags, environment and configuration file that hold `url`, rightly and wrongly."""
    name = key.upper()
    return [
        ({key: url}, {}, ""),
        ({}, {name: url}, ""),
        ({}, {name: "", f"{name}_FILE": "/secret"}, ""),
        ({}, {name: url, f"{name}_FILE": "/secret"}, ""),
        ({}, {name: "", f"{name}_FILE": url}, ""),
        ({"config": "c.toml"}, {name: ""}, f"{key} = '''{url}'''"),
        ({"config": "c.toml"}, {}, f"{key} = {url}"),
        ({"config": "c.toml"}, {}, f"wait_timeout = '''{url}'''"),
        ({"config": url, "log_level": url, "wait_timeout": url}, {"SIDECAR_POLICY": url}, ""),
        ({"migrations_dir": url, "report_file": url}, {}, ""),
    ]


def test_the_url_is_shown_without_its_password() -> None:
    """What remains of a URL is enough to recognise it."""
    assert shown()["database_url"].value == "postgresql://ada@db:5433/shop"
