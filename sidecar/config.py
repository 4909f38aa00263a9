"""Flags, environment and files become one frozen `Config`, or every mistake at once. Pure.

Nothing else in the program looks at the environment. `settings` has the table of what can be
set, `inputs` decides which text counts, and here texts become values. The small values of these
modules are named tuples: every start pays for this import, and a dataclass costs five times that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sidecar.dsn import Target, secrets
from sidecar.errors import ConfigError
from sidecar.given import Given
from sidecar.inputs import Inputs, ReadText, collect
from sidecar.model import Action, DataStatements, FindingName, Policy
from sidecar.parsers import Parser, choice
from sidecar.settings import (
    SETTINGS,
    HelpEntry,
    LogFormat,
    LogLevel,
    Setting,
    Shadow,
    help_entries,
    key_of_finding,
)

__all__ = [
    "SETTINGS",
    "Config",
    "EffectiveSetting",
    "HelpEntry",
    "effective",
    "help_entries",
    "load",
]

_COMPOSED = frozenset(
    "config data_statements database_url direct_url policy policy_file shadow_database_url".split()
)
_ON = {key_of_finding(finding): finding for finding in FindingName}
"""With these, the settings that are no field of `Config` by their own name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings of one run; durations in seconds.

    `target` is where migrations are read and repaired (DIRECT_URL when given),
    `backend_target` what the backend will use (DATABASE_URL); the same value where there is
    no DIRECT_URL. `statement_timeout_s` 0 is without limit.
    """

    target: Target = field(repr=False)
    backend_target: Target = field(repr=False)
    shadow_target: Target | None = field(repr=False)
    policy: Policy
    migrations_dir: str
    ledger_schema: str | None
    approve: str | None
    shadow: Shadow
    embedded_dir: str | None
    wait_timeout_s: float
    login_grace_s: float
    allow_standby: bool
    busy_timeout_s: float
    lock_timeout_s: float
    repair_timeout_s: float
    statement_timeout_s: float
    show_values: bool
    restart_services: tuple[str, ...] | None
    restart_timeout_s: float
    postgres_service: str | None
    compose_project: str | None
    docker_required: bool
    docker_host: str | None
    docker_tls_verify: str | None
    docker_cert_path: str | None
    report_file: str | None
    termination_log: str
    log_format: LogFormat
    log_level: LogLevel

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every spelling of its secrets, which no output may hold."""
        targets = (self.target, self.backend_target, self.shadow_target)
        return tuple(secret for target in targets if target for secret in secrets(target))


class EffectiveSetting(NamedTuple):
    """One line of `migration-sidecar config`; a URL is shown without its password.

    `value` is '' where nothing is set. `source` is 'flag --x', 'environment X',
    'file PATH key' or 'default'.
    """

    key: str
    value: str
    source: str


def load(
    flags: Mapping[str, str | None], environ: Mapping[str, str], *, read_text: ReadText
) -> Config:
    """The settings of this run; `flags` by key ('wait_timeout'), None where not given.

    `read_text` gives a file's text (UTF-8) or raises OSError or UnicodeDecodeError.
    Raises ConfigError with every mistake, each with the flag, variable or key to correct.
    """
    inputs = collect(flags, environ, read_text=read_text)
    values, mistakes = _values(inputs)
    if "database_url" not in inputs.given:
        mistakes.append(
            "DATABASE_URL: is not set (nor DATABASE_URL_FILE, --database-url, --database-url-file)"
        )
    _raise_if_any(mistakes)
    return _config(values, inputs)


def effective(
    flags: Mapping[str, str | None], environ: Mapping[str, str], *, read_text: ReadText
) -> tuple[EffectiveSetting, ...]:
    """Every setting with its value and where that comes from, in the table's order.

    Arguments and ConfigError as for `load`, but DATABASE_URL may be missing.
    """
    inputs = collect(flags, environ, read_text=read_text)
    values, mistakes = _values(inputs)
    _raise_if_any(mistakes)
    settings = (_effective(setting, inputs.given, values=values) for setting in SETTINGS)
    migrations = (
        EffectiveSetting(f'migrations."{name}"', given.text, given.source)
        for name, given in inputs.migrations.items()
    )
    data = (
        EffectiveSetting(f'migrations."{name}".data_statements', given.text, given.source)
        for name, given in inputs.data_statements.items()
    )
    return (*settings, *migrations, *data)


def _effective(
    setting: Setting, texts: Mapping[str, Given], *, values: Mapping[str, Any]
) -> EffectiveSetting:
    given = texts.get(setting.key)
    if given is None:
        return EffectiveSetting(setting.key, "", "default")
    if setting.secret:
        return EffectiveSetting(setting.key, values[setting.key].display, given.source)
    return EffectiveSetting(setting.key, given.text, given.source)


def _raise_if_any(mistakes: Iterable[str]) -> None:
    unique = tuple(dict.fromkeys(mistakes))
    if unique:
        hint = "`migration-sidecar run --help` lists every setting with its flag, variable and key"
        raise ConfigError(unique, next_steps=(hint,))


# --- from texts to values ------------------------------------------------------------


def _values(inputs: Inputs) -> tuple[Mapping[str, Any], list[str]]:
    """Values by key, None where not set or not usable; and every mistake there is."""
    mistakes = list(inputs.mistakes)
    values = {
        setting.key: _value(setting.parse, inputs.given.get(setting.key), mistakes=mistakes)
        for setting in SETTINGS
    }
    for given in inputs.migrations.values():
        _value(choice(Action), given, mistakes=mistakes)
    for given in inputs.data_statements.values():
        _value(choice(DataStatements), given, mistakes=mistakes)
    if values["shadow"] == "url" and "shadow_database_url" not in inputs.given:
        name = inputs.given["shadow"].name
        mistakes.append(f"{name}: 'url' needs SHADOW_DATABASE_URL, which is not set")
    return values, mistakes


def _value(parse: Parser, given: Given | None, *, mistakes: list[str]) -> object:
    if given is None or not given.text:
        return None
    try:
        return parse(given.text, variable=given.name)
    except ConfigError as error:
        mistakes.extend(error.mistakes)
        return None


def _config(values: Mapping[str, Any], inputs: Inputs) -> Config:
    backend = values["database_url"]
    named = (setting for setting in SETTINGS if setting.key not in _COMPOSED | _ON.keys())
    policy = Policy(
        values["policy"],
        by_finding={name: values[key] for key, name in _ON.items() if values.get(key)},
        by_migration={name: Action(given.text) for name, given in inputs.migrations.items()},
        data_statements=DataStatements(values["data_statements"]),
        data_statements_of={
            name: DataStatements(given.text) for name, given in inputs.data_statements.items()
        },
    )
    return Config(
        target=values["direct_url"] or backend,
        backend_target=backend,
        shadow_target=values["shadow_database_url"],
        policy=policy,
        **{setting.field: values[setting.key] for setting in named},
    )
