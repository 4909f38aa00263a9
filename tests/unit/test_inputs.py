"""Where settings come from: unknown names, secrets in files, the TOML files and their tables."""

from __future__ import annotations

import pytest

from sidecar.config import load
from sidecar.errors import ConfigError
from sidecar.model import Action, FindingName, MigrationName, Policy, Preset
from tests.settings import ENVIRON, URL, loaded, mistakes, shown

INCIDENT = MigrationName("20251208175358_add_scheduled_issues")
TABLES = f"""
[findings]
partly-applied = "rebuild"
diverged = "rebuild"

[migrations."{INCIDENT}"]
action = "resume"
"""
POLICY = Policy(
    Preset.FORWARD,
    {FindingName.PARTLY_APPLIED: Action.REBUILD, FindingName.DIVERGED: Action.REBUILD},
    {INCIDENT: Action.RESUME},
)


# --- names -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIDECAR_POLCY", "SIDECAR_policy", "SIDECAR_", "SIDECAR_X_FILE"])
def test_an_unknown_variable_of_ours_is_a_mistake(name: str) -> None:
    """A misspelt variable is not silently without effect."""
    (only,) = mistakes(environ=ENVIRON | {name: "forward"})
    assert only.startswith(f"unknown variable {name}")


def test_the_nearest_known_name_is_suggested() -> None:
    """Whoever misspells a name is told the right one, whatever its case."""
    assert mistakes(environ=ENVIRON | {"SIDECAR_POLCY": "x"}) == (
        "unknown variable SIDECAR_POLCY; did you mean SIDECAR_POLICY?",
    )
    (only,) = mistakes({"config": "c.toml"}, files={"c.toml": f'DATABASE_URL = "{URL}"'})
    assert only == "c.toml: unknown key DATABASE_URL; did you mean database_url?"


@pytest.mark.parametrize(
    "name",
    [
        "SIDECAR_SERVICE_HOST",
        "SIDECAR_SERVICE_PORT",
        "SIDECAR_SERVICE_PORT_HTTP",
        "SIDECAR_PORT",
        "SIDECAR_PORT_8080_TCP",
        "SIDECAR_PORT_8080_TCP_ADDR",
        "SIDECAR_METRICS_SERVICE_HOST",
        "SIDECAR_METRICS_PORT_53_UDP_PROTO",
    ],
)
def test_what_kubernetes_injects_for_a_service_is_no_mistake(name: str) -> None:
    """A Service called `sidecar` does not keep the sidecar from starting."""
    assert loaded(environ=ENVIRON | {name: "tcp://10.0.0.1:80"}) == loaded()


@pytest.mark.parametrize("name", ["PGHOST", "XSIDECAR_POLCY", "SIDECAR", "NODE_ENV"])
def test_variables_of_others_are_none_of_our_business(name: str) -> None:
    """Only names that start with SIDECAR_ are ours."""
    assert loaded(environ=ENVIRON | {name: "x"}) == loaded()


def test_an_empty_unknown_variable_counts_as_unset() -> None:
    """An empty variable says nothing, whatever its name."""
    assert loaded(environ=ENVIRON | {"SIDECAR_POLCY": ""}) == loaded()


def test_an_empty_flag_is_a_mistake() -> None:
    """`--approve "$FINGERPRINT"` with nothing in the variable must not approve every plan."""
    assert mistakes({"approve": " "}) == ("--approve: is empty",)


# --- secrets in files --------------------------------------------------------------


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
@pytest.mark.parametrize("name", ["DATABASE_URL", "DIRECT_URL", "SHADOW_DATABASE_URL"])
def test_a_secret_can_stand_in_a_file(name: str, end: str) -> None:
    """`*_FILE` names a file; the line end that editors leave is no part of the secret."""
    key, other = name.lower(), "postgresql://ada:pw@else/where"
    environ = ENVIRON | {name: "", f"{name}_FILE": "/run/secret"}
    row = shown(environ=environ, files={"/run/secret": other + end})[key]
    assert (row.value, row.source) == (
        "postgresql://ada@else:5432/where",
        f"environment {name}_FILE",
    )
    by_flag = loaded({f"{key}_file": "/f"}, files={"/f": other + end})
    assert by_flag == loaded({key: other})
    files = {"c.toml": f'{key}_file = "/f"', "/f": other + end}
    in_toml = shown({"config": "c.toml"}, {}, files)[key]
    assert in_toml == (key, "postgresql://ada@else:5432/where", f"file c.toml {key}_file")


def test_a_secret_and_its_file_at_once_are_a_mistake() -> None:
    """Which of the two was meant cannot be known."""
    environ = ENVIRON | {"DATABASE_URL_FILE": "/f"}
    assert mistakes(environ=environ, files={"/f": URL}) == (
        "DATABASE_URL and DATABASE_URL_FILE are both given; keep one",
    )


def test_a_flag_beats_the_file_variant_of_the_environment() -> None:
    """Precedence holds between the two ways too: they contradict only in one place."""
    environ = {"DATABASE_URL_FILE": "/f"}
    assert loaded({"database_url": URL}, environ, {"/f": "postgresql://x/y"}) == loaded()
    assert loaded(
        {"database_url_file": "/f"}, {"DATABASE_URL": "postgresql://x/y"}, {"/f": URL}
    ) == (loaded())


@pytest.mark.parametrize("content", ["", "\n", " \n"])
def test_an_empty_secret_file_is_a_mistake(content: str) -> None:
    """A secret that has not been written yet is named, and nothing else is blamed."""
    assert mistakes(environ={"DATABASE_URL_FILE": "/f"}, files={"/f": content}) == (
        "DATABASE_URL_FILE: '/f' is empty",
    )


@pytest.mark.parametrize(
    ("flags", "environ", "name"),
    [
        ({"config": "/none"}, {}, "--config"),
        ({}, {"SIDECAR_CONFIG_FILE": "/none"}, "SIDECAR_CONFIG_FILE"),
        ({"policy_file": "/none"}, {}, "--policy-file"),
        ({}, {"DIRECT_URL_FILE": "/none"}, "DIRECT_URL_FILE"),
    ],
)
def test_an_unreadable_file_is_a_mistake_that_names_it(
    flags: dict[str, str | None], environ: dict[str, str], name: str
) -> None:
    """The setting, the path and the system's reason are named."""
    reason = "cannot read '/none': No such file or directory"
    assert mistakes(flags, ENVIRON | environ) == (f"{name}: {reason}",)


def test_a_file_that_is_no_text_is_a_mistake() -> None:
    """Bytes that are not UTF-8 are reported without quoting them."""

    def read(_path: str) -> str:
        return b"\xff\xfes3cret".decode()

    with pytest.raises(ConfigError) as caught:
        load({"config": "c.toml"}, ENVIRON, read_text=read)
    assert caught.value.mistakes == ("--config: cannot read 'c.toml': not a UTF-8 text file",)


# --- the TOML files ----------------------------------------------------------------


def test_the_policy_can_stand_in_the_main_file_or_in_its_own() -> None:
    """The two tables mean the same in both files, and the main file can name the other."""
    inline = loaded({"config": "c.toml"}, files={"c.toml": TABLES})
    own = loaded({"policy_file": "p.toml"}, files={"p.toml": TABLES})
    files = {"c.toml": 'policy_file = "p.toml"', "p.toml": TABLES}
    named = loaded(environ=ENVIRON | {"SIDECAR_CONFIG_FILE": "c.toml"}, files=files)
    assert inline.policy == own.policy == named.policy == POLICY


def test_config_shows_where_each_action_comes_from() -> None:
    """Findings and migrations are listed with file and key."""
    rows = shown({"policy_file": "p.toml"}, files={"p.toml": TABLES})
    assert rows["on_diverged"].source == "file p.toml findings.diverged"
    row = rows[f'migrations."{INCIDENT}"']
    assert row.value == "resume"
    assert row.source == f'file p.toml migrations."{INCIDENT}".action'


def test_a_flag_beats_the_findings_of_a_file() -> None:
    """`[findings]` is the file's way to say `--on-...`."""
    config = loaded({"policy_file": "p.toml", "on_diverged": "halt"}, files={"p.toml": TABLES})
    assert config.policy.by_finding[FindingName.DIVERGED] is Action.HALT


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("wait_timeout = 60", "c.toml wait_timeout: '60' has no unit; write 60s or 60ms"),
        ("wait_timeout = nan", "c.toml wait_timeout: 'nan' is no duration; write whole numbers"),
        ("wait_timeout = ['1s']", "c.toml wait_timeout: must be a text, and not an empty one"),
        ("approve = ''", "c.toml approve: must be a text, and not an empty one"),
        ("log_level = 2026-01-01", "c.toml log_level: must be a text, and not an empty one"),
        ("config = 'other.toml'", "c.toml: unknown key config"),
        ("[wait]\ntimeout = '1s'", "c.toml: unknown key wait"),
        ("findings = 'halt'", "c.toml findings: must be a table"),
        ("[findings]\ndiverge = 'halt'", "c.toml: unknown finding diverge; did you mean diverged?"),
        ("[findings]\nrunning = 'halt'", "c.toml: unknown finding running"),
        ("[findings]\ndiverged = 'resume'", "c.toml findings.diverged: resume is not safe for"),
        ("migrations = 1", "c.toml migrations: must be a table"),
        ("[migrations]\nm = 'halt'", 'c.toml migrations."m": must be a table'),
        (
            "[migrations.m]\nact = 'halt'",
            'c.toml migrations."m": unknown key act; did you mean action?',
        ),
        ("[migrations.m]\naction = 1", "c.toml migrations.\"m\".action: '1' is not one of: resume"),
        ("a = ", "c.toml: not valid TOML: Invalid value"),
        ("a = " + "[" * 100_000, "c.toml: not valid TOML: "),
    ],
)
def test_what_a_file_cannot_mean_is_a_mistake(text: str, expected: str) -> None:
    """Each mistake names the file and the key."""
    (only,) = mistakes({"config": "c.toml"}, files={"c.toml": text})
    assert only.startswith(expected)


def test_values_need_no_quotes_where_toml_has_a_type() -> None:
    """A boolean can be a boolean, and a name of digits a number."""
    config = loaded({"config": "c.toml"}, files={"c.toml": "allow_standby = true\napprove = 123"})
    assert (config.allow_standby, config.approve) == (True, "123")


def test_a_policy_file_holds_nothing_but_the_policy() -> None:
    """Settings stand in the main file only, so that there is one place to look."""
    (only,) = mistakes({"policy_file": "p.toml"}, files={"p.toml": 'log_level = "debug"'})
    assert only == "p.toml: unknown key log_level"


def test_the_same_thing_twice_in_files_is_a_mistake() -> None:
    """Between two files, or two spellings in one, nobody has to know which one wins."""
    both = {"policy_file": "p.toml", "config": "c.toml"}
    keys = ("findings.partly-applied", "findings.diverged", f'migrations."{INCIDENT}".action')
    assert mistakes(both, files={"p.toml": TABLES, "c.toml": TABLES}) == tuple(
        f"c.toml {key} and p.toml {key} set the same thing; keep one" for key in keys
    )
    twice = 'on_diverged = "halt"\n[findings]\ndiverged = "rebuild"'
    assert mistakes({"config": "c.toml"}, files={"c.toml": twice}) == (
        "c.toml on_diverged and c.toml findings.diverged set the same thing; keep one",
    )
