"""The one table of settings: flags, variables, TOML keys, defaults and help.

A new knob is one row here and one field of `config.Config`. `config` resolves the rows,
`cli` makes its options from `help_entries`; neither knows a name of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

from sidecar import dsn
from sidecar.errors import ConfigError
from sidecar.model import Action, DataStatements, FindingName, Preset
from sidecar.parsers import (
    Parser,
    as_boolean,
    as_duration,
    as_is,
    as_limit,
    as_name,
    as_names,
    as_text,
    choice,
)
from sidecar.policy import SOUND

__all__ = [
    "SETTINGS",
    "HelpEntry",
    "LogFormat",
    "LogLevel",
    "Setting",
    "Shadow",
    "flag_of",
    "help_entries",
    "input_names",
    "key_of_finding",
]


Shadow = Literal["auto", "url", "server", "embedded", "none"]
LogFormat = Literal["auto", "json", "text"]
LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One knob. `default` is text like any other input, or None for "not set"."""

    key: str
    variable: str
    default: str | None
    metavar: str
    parse: Parser
    commands: frozenset[str]
    help: str
    secret: bool = False
    file_variant: bool = False

    @property
    def flag(self) -> str:
        return flag_of(self.key)

    @property
    def field(self) -> str:
        """Its name in `config.Config`; seconds carry their unit."""
        return f"{self.key}_s" if self.metavar == "DURATION" else self.key


def flag_of(key: str) -> str:
    """The flag of a key: 'wait_timeout' -> '--wait-timeout'."""
    return "--" + key.replace("_", "-")


def key_of_finding(finding: FindingName) -> str:
    """The key that sets a finding's action: 'partly-applied' -> 'on_partly_applied'."""
    return "on_" + finding.replace("-", "_")


# --- the table ---------------------------------------------------------------------

_ALL = frozenset({"run", "wait", "status", "plan", "resolve", "config"})
_READ = _ALL - {"wait"}  # they read the ledger
_FIND = _READ - {"resolve"}  # they make findings
_WRITE = _READ - {"status", "plan"}  # they change the database
_REPAIR = _WRITE - {"resolve"}
_RUN = frozenset({"run", "config"})


def _url(key: str, commands: frozenset[str], about: str) -> Setting:
    """The row of a connection URL: Prisma's own variable, and a `*_FILE` variant."""
    return Setting(
        key, key.upper(), None, "URL", dsn.parse, commands, about, secret=True, file_variant=True
    )


def _one_of(
    key: str, default: str | None, members: Iterable[str], commands: frozenset[str], about: str
) -> Setting:
    members = tuple(members)
    metavar, variable = "|".join(members), f"SIDECAR_{key.upper()}"
    return Setting(key, variable, default, metavar, choice(members), commands, about)


def _on(finding: FindingName) -> Setting:
    """The row that sets one finding's action; it accepts the sound actions only."""
    sound = tuple(action for action in Action if action in SOUND[finding])
    about = f"What to do about a migration that is {finding}; without it the policy says."
    row = _one_of(key_of_finding(finding), None, sound, _FIND, about)

    def parse(text: str, /, *, variable: str) -> object:
        if text in SOUND[finding] or text not in tuple(Action):
            return row.parse(text, variable=variable)
        reason = f"is not safe for {finding}, its result could not be proven"
        raise ConfigError((f"{variable}: {text} {reason}; allowed: {', '.join(sound)}",))

    return replace(row, parse=parse)


# fmt: off
# A table reads by rows.
SETTINGS: tuple[Setting, ...] = (
    _url("database_url", _ALL,
         "What the backend connects to. Process lists show flags, so prefer the variable."),
    _url("direct_url", _READ,
         "Past a pooler, straight to PostgreSQL; reading and repair use it when given."),
    _url("shadow_database_url", _FIND,
         "An empty database of its own, for the replay."),
    Setting("config", "SIDECAR_CONFIG_FILE", None, "PATH", as_text, _ALL,
            "A TOML file with any of these settings."),
    Setting("migrations_dir", "SIDECAR_MIGRATIONS_DIR", "prisma/migrations", "PATH", as_text, _READ,
            "The folder that `prisma migrate deploy` would read."),
    Setting("ledger_schema", "SIDECAR_LEDGER_SCHEMA", None, "NAME", as_text, _READ,
            "The schema of _prisma_migrations, where several schemas have one."),
    _one_of("policy", "forward", Preset, _FIND,
            "What may be done for which finding; observe never writes, whatever else is set."),
    Setting("policy_file", "SIDECAR_POLICY_FILE", None, "PATH", as_text, _FIND,
            'A TOML file: [findings] NAME = ACTION, [migrations."NAME"] action = ACTION.'),
    *(_on(finding) for finding in FindingName if finding is not FindingName.RUNNING),
    _one_of("data_statements", "halt", DataStatements, _FIND,
            "Where nothing shows whether data statements ran: what you know of them."),
    Setting("approve", "SIDECAR_APPROVE", None, "FINGERPRINT", as_text, _REPAIR,
            "Carry out only the plan with this fingerprint, as `plan` printed it."),
    _one_of("shadow", "auto", get_args(Shadow), _FIND,
            "Where the history may be replayed; auto takes the first that works."),
    Setting("embedded_dir", "SIDECAR_EMBEDDED_DIR", None, "PATH", as_text, _FIND,
            "A private PostgreSQL in place of the extra's: bin/ and, where prepared, data/."),
    Setting("wait_timeout", "SIDECAR_WAIT_TIMEOUT", "60s", "DURATION", as_duration, _ALL,
            "How long PostgreSQL may take until it is ready."),
    Setting("login_grace", "SIDECAR_LOGIN_GRACE", "10s", "DURATION", as_duration, _ALL,
            "How long a wrong password or a missing database is tried again."),
    Setting("allow_standby", "SIDECAR_ALLOW_STANDBY", "false", "BOOLEAN", as_boolean, _ALL,
            "Whether a server in recovery (read-only) counts as ready."),
    Setting("busy_timeout", "SIDECAR_BUSY_TIMEOUT", "60s", "DURATION", as_duration, _READ,
            "How long to wait for another migrator to end."),
    Setting("lock_timeout", "SIDECAR_LOCK_TIMEOUT", "5s", "DURATION", as_limit, _WRITE,
            "How long one statement of a repair may wait for a lock, and block others by it."),
    Setting("repair_timeout", "SIDECAR_REPAIR_TIMEOUT", "60s", "DURATION", as_duration, _REPAIR,
            "How long a repair that met a lock or lost its connection is tried without progress."),
    Setting("statement_timeout", "SIDECAR_STATEMENT_TIMEOUT", "0s", "DURATION", as_duration,
            _REPAIR, "How long one statement of a repair may run; 0s is without limit."),
    Setting("show_values", "SIDECAR_SHOW_VALUES", "false", "BOOLEAN", as_boolean, _REPAIR,
            "Whether an error may quote values of rows; logs and the report then hold them."),
    Setting("restart_services", "SIDECAR_RESTART_SERVICES", None, "NAMES", as_names, _RUN,
            "Compose services of our project to restart after a repair: backend_dev,worker."),
    Setting("restart_timeout", "SIDECAR_RESTART_TIMEOUT", "60s", "DURATION", as_duration, _RUN,
            "How long they may take until they are healthy again."),
    Setting("postgres_service", "SIDECAR_POSTGRES_SERVICE", None, "NAME", as_name, _ALL,
            "PostgreSQL's compose service: explains a wait, and on a host finds its port."),
    Setting("compose_project", "SIDECAR_COMPOSE_PROJECT", None, "NAME", as_name, _ALL,
            "The compose project; without it that of our container or, on a host, folder."),
    Setting("docker_required", "SIDECAR_DOCKER_REQUIRED", "false", "BOOLEAN", as_boolean, _ALL,
            "Whether to stop where the two need a Docker Engine that cannot be used."),
    Setting("docker_host", "DOCKER_HOST", None, "URL", as_is, _ALL,
            "The Docker Engine, as Docker has it; without it the usual socket."),
    Setting("docker_tls_verify", "DOCKER_TLS_VERIFY", None, "1", as_is, _ALL,
            "Anything here: TLS to the engine, verified, as Docker has it."),
    Setting("docker_cert_path", "DOCKER_CERT_PATH", None, "PATH", as_is, _ALL,
            "The folder of ca.pem, cert.pem and key.pem for that."),
    Setting("report_file", "SIDECAR_REPORT_FILE", None, "PATH", as_text, _ALL,
            "Where to write the report (JSON)."),
    Setting("termination_log", "SIDECAR_TERMINATION_LOG", "/dev/termination-log", "PATH", as_text,
            _ALL, "Where Kubernetes reads the last words; used only where it exists."),
    _one_of("log_format", "auto", get_args(LogFormat), _ALL,
            "auto is text on a terminal, else JSON lines."),
    _one_of("log_level", "info", get_args(LogLevel), _ALL,
            "The least important lines that are still logged."),
)
# fmt: on


def input_names() -> Iterator[tuple[str, str]]:
    """(key, variable) of everything that can be given, `*_file` variants included."""
    for setting in SETTINGS:
        yield setting.key, setting.variable
        if setting.file_variant:
            yield f"{setting.key}_file", f"{setting.variable}_FILE"


# --- help --------------------------------------------------------------------------


class HelpEntry(NamedTuple):
    """One option of a command.

    `key` is its key in the flags that `config.load` takes; `bare` is the value that the
    flag stands for when it is given without one, or None where it needs one.
    """

    key: str
    flag: str
    metavar: str
    help: str
    bare: str | None = None


def help_entries(command: str) -> tuple[HelpEntry, ...]:
    """The options of a command in the table's order, `*_file` variants after their secret."""
    chosen = (setting for setting in SETTINGS if command in setting.commands)
    return tuple(entry for setting in chosen for entry in _entries(setting))


def _entries(setting: Setting) -> Iterator[HelpEntry]:
    names = f"[env: {setting.variable}]"
    if setting.key != "config":
        names += f" [file: {setting.key}]"
    if setting.default is not None:
        names += f" [default: {setting.default}]"
    bare = "true" if setting.parse is as_boolean else None
    yield HelpEntry(setting.key, setting.flag, setting.metavar, f"{setting.help} {names}", bare)
    if setting.file_variant:
        key, variable = f"{setting.key}_file", f"{setting.variable}_FILE"
        about = f"A file that holds {setting.variable}. [env: {variable}] [file: {key}]"
        yield HelpEntry(key, flag_of(key), "PATH", about)
