"""The outer contract: exit codes, report, last words, logs, and that no secret gets out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import jsonschema  # type: ignore[import-untyped]
import pytest
from click.testing import CliRunner
from psycopg import sql

from sidecar.cli import cli
from sidecar.demo import SCHEMA as MOMENTUM
from sidecar.embedded import bundled_bindir
from sidecar.model import LOCK_KEY
from sidecar.settings import SETTINGS
from tests import incident
from tests.command import ROOT, Ended, Scene, command, process_environ, shadows, unchanged
from tests.incident import FAILED, HISTORY, Migration, Mode
from tests.postgres import LATEST, Database, Servers, available_majors, fresh_database

COMMANDS = ("run", "wait", "status", "plan", "resolve", "config")
SCHEMA: dict[str, Any] = json.loads((ROOT / "sidecar" / "report.schema.json").read_text())

CORE = "Zq7Hunter2Kx"
PASSWORD = f"""a%/@:?#&+ '"é{CORE}\\%41"""
"""However it is encoded or quoted, the letters in the middle stay the same."""


# --- every outcome, once ------------------------------------------------------------


class Case(NamedTuple):
    """One way a run can end."""

    outcome: str
    code: int
    plant: Callable[[Scene], None]
    variables: dict[str, str] = {}  # noqa: RUF012 (never changed)
    says: str = ""
    next_step: str = ""
    program: str = ""


class Told(NamedTuple):
    """Everything that one run said, wherever it says something."""

    case: Case
    ended: Ended
    report: dict[str, Any]
    report_text: str
    termination: bytes


ITEMS = Migration("1_items", "CREATE TABLE item (id int, code text);\n")
UNIQUE = Migration(
    "2_unique",
    "CREATE TABLE tag (id int);\nCREATE UNIQUE INDEX item_code ON item (code);\n",
)


def healthy(scene: Scene) -> None:
    """The history is applied, nothing failed."""
    incident.write_migrations(scene.folder)
    with scene.database.connect() as connection:
        incident.clean_run(connection)


def after_the_enum(scene: Scene) -> None:
    """The incident: stopped after the first of four statements."""
    scene.plant(1, FAILED, *incident.BEFORE, schema=MOMENTUM)


def diverged(scene: Scene) -> None:
    """The incident, and then somebody changed what it had made."""
    after_the_enum(scene)
    scene.database.execute("""ALTER TYPE momentum."ScheduleFrequency" ADD VALUE 'HOURLY'""")


def with_duplicates(scene: Scene) -> None:
    """What is missing is a unique index, and the rows have duplicates."""
    scene.plant(1, UNIQUE, ITEMS)
    scene.database.execute("INSERT INTO item VALUES (1, 'x'), (2, 'x')")


BROKEN = """
import sidecar.app
from sidecar.cli import main
def broken(config, world):
    password = config.target.conninfo["password"]
    world.log.info("connecting", password=password, nested=[{"of": password}])
    raise RuntimeError(password)
sidecar.app.run = broken
main()
"""
"""The command with a bug that does its best to tell the password."""


INCIDENT = FAILED.name
CASES = {
    "healthy": Case("healthy", 0, healthy, says="no failed migration"),
    "repaired": Case("repaired", 0, after_the_enum, says=f"{INCIDENT}: partly-applied"),
    "halted": Case(
        "halted", 3, diverged, says=f"{INCIDENT}: diverged", next_step="migration-sidecar status"
    ),
    "repair-failed": Case(
        "repair-failed", 4, with_duplicates, {}, "2_unique: partly-applied", "Remove the cause"
    ),
    "busy": Case(
        "busy", 5, after_the_enum, {"SIDECAR_BUSY_TIMEOUT": "300ms"}, "another migrator", "Wait"
    ),
    "not-ready": Case(
        "not-ready",
        124,
        healthy,
        {"SIDECAR_WAIT_TIMEOUT": "200ms", "port": "1"},
        "not ready",
        "Look whether PostgreSQL is up",
    ),
    "wrong-password": Case(
        "not-ready", 124, healthy, {"password": f"{CORE}-%wrong"}, "wrong password", "Correct"
    ),
    "wrong-database": Case(
        "not-ready", 124, healthy, {"database": "absent"}, "does not exist", "Correct"
    ),
    "error": Case("error", 1, healthy, says="this is a bug", program=BROKEN),
}


@contextmanager
def somebody_holding_the_lock(database: Database) -> Iterator[None]:
    """Another migrator, for the length of the block."""
    with database.connect() as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
        yield


def url_of(database: Database, role: str, variables: dict[str, str]) -> str:
    """The URL of the run: like the database's, or wrong as `variables` say, which it takes out."""
    password = variables.pop("password", PASSWORD)
    schema = "public" if database.execute("SELECT to_regclass('item')")[0][0] else "momentum"
    own = database.url(user=role, password=password, schema=schema)
    own = own.replace(
        f":{database.server.port}/", f":{variables.pop('port', database.server.port)}/"
    )
    return own.replace(database.name, variables.pop("database", database.name))


@pytest.fixture(scope="module", params=CASES, ids=str)
def told(
    request: pytest.FixtureRequest, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Told:
    """One run of each outcome, by a role whose password would stand out, as loud as can be."""
    case, folder = CASES[request.param], tmp_path_factory.mktemp("told")
    server = servers[LATEST if LATEST in available_majors() else available_majors()[-1]]
    with fresh_database(server) as database:
        role = database.role(createdb=True)
        database.execute(f"ALTER ROLE {role.name} SUPERUSER PASSWORD {literal(PASSWORD)}")
        case.plant(Scene(database, folder / "migrations"))
        variables = dict(case.variables)
        where = {
            "DATABASE_URL": url_of(database, role.name, variables),
            "SIDECAR_MIGRATIONS_DIR": str(folder / "migrations"),
            "SIDECAR_WAIT_TIMEOUT": "10s",
            "SIDECAR_LOGIN_GRACE": "100ms",
            "SIDECAR_REPORT_FILE": str(folder / "report.json"),
            "SIDECAR_TERMINATION_LOG": str(folder / "termination"),
            "SIDECAR_LOG_LEVEL": "debug",
            **variables,
        }
        (folder / "termination").write_text("what the last run left")
        holding = somebody_holding_the_lock(database) if case.outcome == "busy" else nullcontext()
        with holding:
            ended = command("run", environ=where, program=case.program)
    text = (folder / "report.json").read_text()
    return Told(case, ended, json.loads(text), text, (folder / "termination").read_bytes())


def literal(text: str) -> str:
    """The text as SQL spells it."""
    return sql.Literal(text).as_string(None)


def test_each_outcome_has_its_exit_code(told: Told) -> None:
    """The exit code says what happened, and only 0 lets the backend start."""
    assert told.ended.code == told.case.code, told.ended.err


def test_the_report_is_valid_and_says_the_same(told: Told) -> None:
    """The report fits the shipped schema, for every outcome."""
    jsonschema.validate(told.report, SCHEMA, format_checker=jsonschema.FormatChecker())
    assert told.report["outcome"] == told.case.outcome
    assert told.report["exit_code"] == told.case.code
    finding, _, _ = told.case.says.rpartition(": ")
    assert finding in told.report_text


def test_the_termination_message_has_finding_and_next_step(told: Told) -> None:
    """Kubernetes shows at most 4096 bytes: outcome, finding and next step are among them."""
    message = told.termination.decode()
    assert len(told.termination) <= 4096
    assert message.startswith(told.case.outcome)
    assert told.case.says in message
    assert told.case.next_step in message
    assert "what the last run left" not in message


def test_the_last_log_lines_are_the_summary(told: Told) -> None:
    """Whoever sees only the end of the log sees what happened and what to do."""
    lines = told.ended.lines
    summary = [line for line in lines if "exit_code" in line]
    assert lines[-len(summary) :] == summary
    assert {(line["outcome"], line["exit_code"]) for line in summary} == {told.case[:2]}
    events = "\n".join(line["event"] for line in summary)
    assert told.case.says in events
    assert f"next: {told.case.next_step}" in events or not told.case.next_step


def test_logs_off_a_terminal_are_json_line_by_line(told: Told) -> None:
    """Every line of standard error is one JSON object with time, level and event."""
    assert all({"timestamp", "level", "event"} <= line.keys() for line in told.ended.lines)
    assert told.ended.out == ""


def test_no_password_gets_out(told: Told) -> None:
    """No output of any outcome holds the password, however it is spelled."""
    for text in (told.ended.out, told.ended.err, told.report_text, told.termination.decode()):
        assert CORE not in text


# --- one by one ---------------------------------------------------------------------


@pytest.fixture
def scene(latest_database: Database, tmp_path: Path) -> Scene:
    """A database of its own with the incident's folder and schema."""
    environ = {"DATABASE_URL": latest_database.url(schema=MOMENTUM)}
    return Scene(latest_database, tmp_path / "migrations", environ)


def test_an_unexpected_error_is_exit_1_and_keeps_its_traceback(scene: Scene) -> None:
    """A bug of ours never looks like success, and its traceback is in the log."""
    healthy(scene)
    fault = """
import sidecar.history
from sidecar.cli import main
def broken(session, schema):
    return 1 / 0
sidecar.history.read_ledger = broken
main()
"""
    ended = command("run", environ=scene.given(), program=fault)
    assert ended.code == 1
    assert "ZeroDivisionError" in ended.lines[0]["exception"]
    assert "this is a bug of migration-sidecar" in ended.lines[1]["event"]
    assert ended.lines[-1]["outcome"] == "error"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_flag_variable_and_key(name: str) -> None:
    """`--help` of each command names all three spellings of each of its settings."""
    shown = CliRunner().invoke(cli, [name, "--help"])
    text = "".join(shown.output.split())  # lines are wrapped anywhere
    assert shown.exit_code == 0
    for setting in SETTINGS:
        known = name in setting.commands
        assert (f"{setting.flag}{setting.metavar}" in text) == known, setting.flag
        assert (f"[env:{setting.variable}]" in text) == known, setting.variable
        if known and setting.key != "config":
            assert f"[file:{setting.key}]" in text


def test_bad_values_are_listed_all_at_once() -> None:
    """A wrong flag value, variable, key and a missing URL end in exit 2, each named."""
    environ = {
        "SIDECAR_POLICY": "bold",
        "SIDECAR_LOCK_TIMEOUT": "5",
        "SIDECAR_WAIT_TIMOUT": "5s",
        "SIDECAR_MIGRATIONS_DIR": "postgresql://u:Zq7Hunter2Kx@h/d",
    }
    ended = command("run", "--busy-timeout", "soon", environ=environ)
    assert ended.code == 2
    for name in (*environ, "--busy-timeout", "DATABASE_URL", "SIDECAR_WAIT_TIMEOUT"):
        assert name in ended.err, name
    assert CORE not in ended.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--no-such-flag",), "No such option"),
        (("repair",), "No such command"),
        (("resolve",), "exactly one of"),
        (("resolve", "--applied", "a", "--rolled-back", "b"), "exactly one of"),
        (("run", "--policy"), "requires an argument"),
        (("run", "surplus"), "unexpected extra argument"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_2(arguments: tuple[str, ...], says: str) -> None:
    """A command line that means nothing ends in exit 2 and says why."""
    ended = CliRunner().invoke(cli, arguments)
    assert (ended.exit_code, says in ended.output) == (2, True), ended.output


def test_without_a_command_it_is_run(scene: Scene) -> None:
    """`migration-sidecar` alone does what `migration-sidecar run` does, flags included."""
    after_the_enum(scene)
    assert scene.command("--policy", "observe").code == 3
    assert scene.command().code == 0


def test_wait_answers_when_the_database_does(scene: Scene) -> None:
    """`wait` looks at nothing but the server: a failed migration does not concern it."""
    after_the_enum(scene)
    ended = scene.command("wait")
    assert (ended.code, ended.lines[-1]["event"]) == (0, "PostgreSQL is ready")


@pytest.mark.parametrize("name", ["status", "plan"])
def test_reading_commands_say_3_and_change_nothing(scene: Scene, name: str) -> None:
    """`status` and `plan` end in 3 where something failed, and leave no trace."""
    after_the_enum(scene)
    with unchanged(scene.database):
        ended = scene.command(name)
        as_json = scene.command(name, "--json")
    assert (ended.code, as_json.code) == (3, 3)
    assert f"{INCIDENT}: partly-applied (1 of 4 statements took effect)" in ended.out
    jsonschema.validate(json.loads(as_json.out), SCHEMA)
    assert json.loads(as_json.out)["migrations"][0]["finding"] == "partly-applied"
    assert shadows(scene.database) == []


@pytest.mark.parametrize("name", ["status", "plan"])
def test_reading_commands_say_0_where_all_is_well(scene: Scene, name: str) -> None:
    """Nothing failed: exit 0, in one line."""
    healthy(scene)
    ended = scene.command(name)
    assert (ended.code, ended.out) == (0, "no failed migration; 3 applied, 0 pending.\n")


def test_config_shows_where_each_value_comes_from_and_no_secret(scene: Scene) -> None:
    """`config` prints the effective settings with their sources, secrets masked."""
    secret = f"postgresql://u:{quote(PASSWORD, safe='')}@db:5433/shop?schema=app"
    ended = scene.command("config", "--policy", "ledger", DATABASE_URL=secret)
    shown = [line.split() for line in ended.out.splitlines()]
    assert ended.code == 0
    assert ["policy", "ledger", "[flag", "--policy]"] in shown
    assert ["lock_timeout", "5s", "[default]"] in shown
    assert ["wait_timeout", "10s", "[environment", "SIDECAR_WAIT_TIMEOUT]"] in shown
    url_shown = ["database_url", "postgresql://u@db:5433/shop?schema=app"]
    assert [*url_shown, "[environment", "DATABASE_URL]"] in shown
    assert CORE not in ended.out + ended.err


def test_the_script_of_plan_sql_repairs_the_incident(scene: Scene, tmp_path: Path) -> None:
    """`plan --sql`, run with psql, repairs; the sidecar then finds nothing failed."""
    after_the_enum(scene)
    planned = scene.command("plan", "--sql")
    assert planned.code == 3
    script = tmp_path / "plan.sql"
    script.write_text(planned.out, encoding="utf-8")
    psql = [str(bundled_bindir() / "psql"), "-X", "-v", "ON_ERROR_STOP=1", "-f", str(script)]
    subprocess.run([*psql, scene.database.conninfo], check=True, capture_output=True)
    ended = scene.command("run")
    assert (ended.code, ended.lines[-1]["outcome"]) == (0, "healthy")
    assert schema_of(scene.database) == schema_of_a_clean_run(scene.database)


def schema_of(database: Database) -> str:
    """The dump without the ledgers."""
    return database.dump(exclude_tables=["*._prisma_migrations"])


def schema_of_a_clean_run(database: Database) -> str:
    """The same of an undisturbed deploy."""
    with fresh_database(database.server) as clean, clean.connect() as connection:
        incident.clean_run(connection, HISTORY)
        return schema_of(clean)


def test_only_the_approved_plan_is_carried_out(scene: Scene) -> None:
    """`--approve` runs the plan that was read, and no other: the world may have moved."""
    after_the_enum(scene)
    approved = fingerprint(scene)
    with scene.database.connect() as connection:
        incident.run(connection, FAILED.statements[1], MOMENTUM)
    with unchanged(scene.database):
        refused = scene.command("run", "--approve", approved)
    assert refused.code == 3
    assert f"{INCIDENT} was not touched" in refused.err
    now = fingerprint(scene)
    assert now != approved
    assert scene.command("run", "--approve", now).code == 0


def fingerprint(scene: Scene) -> str:
    """The fingerprint of the plan as it is now."""
    (migration,) = json.loads(scene.command("plan", "--json").out)["migrations"]
    seen: str = migration["plan"]["fingerprint"]
    return seen


def test_a_healthy_run_is_one_connection_and_no_shadow(scene: Scene) -> None:
    """Nothing failed: one connection, no shadow. A repair, for comparison, needs more."""
    healthy(scene)
    role = scene.database.role(createdb=True)
    scene.database.execute(f"ALTER ROLE {role.name} SUPERUSER")
    url = scene.database.url(
        user=role.name,
        password=role.password,
        schema=MOMENTUM,
        options="-c log_disconnections=on",
    )
    who = {"DATABASE_URL": url}
    assert scene.command("run", **who).code == 0
    assert sessions_of(scene.database, role.name) == [scene.database.name]
    scene.database.execute(
        "UPDATE momentum._prisma_migrations SET finished_at = NULL WHERE migration_name = %s",
        [FAILED.name],
    )
    assert scene.command("run", **who).code == 0
    assert len(sessions_of(scene.database, role.name)) > 2


def sessions_of(database: Database, role: str) -> list[str]:
    """The databases to which this role had sessions, once all of them are over."""
    running = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s"
    while database.execute(running, [role]) != [(0,)]:
        pass
    lines = [line for line in database.server.log.splitlines() if "disconnection:" in line]
    return [line.split("database=")[1].split()[0] for line in lines if f"user={role} " in line]


def test_a_healthy_run_imports_nothing_heavy(scene: Scene) -> None:
    """The libraries for waiting, parsing and reporting cost a healthy start nothing."""
    healthy(scene)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "sidecar"],
        env=process_environ(scene.given()),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert {"psycopg", "click", "sidecar.app"} <= imported
    heavy = {"postgast", "google.protobuf", "structlog", "rich", "tenacity", "docker", "msgspec"}
    assert heavy & imported == set()


@pytest.mark.parametrize("mode", [Mode.KILLED, Mode.ERROR_LOGGED])
def test_the_report_holds_statements_plan_and_proof(scene: Scene, mode: Mode) -> None:
    """The report names each statement's state, each step, and what was proven."""
    scene.plant(1, FAILED, *incident.BEFORE, mode=mode, schema=MOMENTUM)
    report = scene.folder.parent / "report.json"
    assert scene.command("run", SIDECAR_REPORT_FILE=str(report)).code == 0
    (migration,) = json.loads(report.read_text())["migrations"]
    states = [statement["state"] for statement in migration["statements"]]
    assert states == ["applied", "missing", "missing", "missing"]
    kinds = [step["kind"] for step in migration["plan"]["steps"]]
    assert kinds == ["statement"] * 3 + ["ledger"] * 2
    assert (migration["action"], migration["done"]) == ("resume", True)
    assert migration["proof"]["holds"] is True
    assert migration["proof"]["touched_facts"] > 10
