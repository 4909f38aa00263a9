"""The architecture document that cannot rot: who may import whom, and how large a thing may be.

A new module is a row in LAYERS (and in PURE if it only computes). An import that a test
here refuses is a question about the design, not about the table.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import sidecar

PACKAGE = Path(sidecar.__file__).parent

# What each module imports inside the package; it stands below those it imports.
LAYERS = {
    # values
    "__init__": "",
    "model": "",
    "errors": "model",
    # settings: texts to one frozen value
    "policy": "model",
    "prisma_url": "",
    "dsn": "errors prisma_url",
    "given": "",
    "parsers": "errors given",
    "settings": "dsn errors model parsers policy",
    "settings_file": "given model settings",
    "inputs": "given model settings settings_file",
    "config": "dsn errors given inputs model parsers settings",
    # the script, as PostgreSQL's parser sees it
    "sql_text": "",
    "pure_functions": "",
    "statement_reach": "pure_functions",
    "never_run": "statement_reach",
    "statement_kinds": "model never_run statement_reach",
    "names_read": "model pure_functions statement_reach",
    "row_queries": "model sql_text statement_reach",
    "column_types": "model sql_text",
    "row_conditions": "model names_read statement_reach",
    "idempotent": "names_read statement_reach",
    "own_queries": "model names_read statement_reach",
    "duplicates": "model names_read own_queries row_conditions statement_reach",
    "led_by_with": "names_read pure_functions statement_reach",
    "upserts": "names_read row_conditions row_queries statement_reach",
    "row_changes": (
        "duplicates idempotent led_by_with model names_read own_queries row_conditions"
        " row_queries sql_text statement_reach upserts"
    ),
    "anonymous_blocks": "model names_read statement_kinds statement_reach",
    "temporary_tables": "model names_read pure_functions statement_reach table_names",
    "script": (
        "anonymous_blocks errors model row_changes sql_text statement_kinds statement_reach"
        " temporary_tables"
    ),
    "own_functions": "anonymous_blocks model script statement_reach table_names",
    # decisions
    "error_log": "",
    "evidence": "error_log model",
    "quarantine": "model sql_text",
    "undo": "model quarantine",
    "remains": "model sql_text",
    "mark": "model sql_text",
    "table_names": "model sql_text",
    "harmless": "model table_names",
    "attempt_window": "model",
    "made_before": "attempt_window model table_names",
    "live_tables": "model table_names",
    "trigger_functions": (
        "anonymous_blocks model names_read own_functions pure_functions script sql_text"
        " statement_reach table_names"
    ),
    "row_triggers": (
        "live_tables model row_queries script statement_reach table_names trigger_functions"
    ),
    "calm_triggers": (
        "harmless model names_read row_triggers sql_text table_names trigger_functions"
    ),
    "row_proofs": "attempt_window calm_triggers error_log harmless model row_triggers table_names",
    "failed_statement": "attempt_window error_log model row_proofs sql_text table_names",
    "new_columns": "harmless model row_proofs table_names",
    "passing_columns": "attempt_window model row_proofs",
    "row_evidence": (
        "attempt_window calm_triggers error_log evidence failed_statement harmless"
        " live_tables model new_columns passing_columns row_proofs sql_text"
        " table_names"
    ),
    "touched": "model",
    "row_dependent": (
        "anonymous_blocks led_by_with made_before model names_read script sql_text"
        " statement_kinds statement_reach table_names"
    ),
    "diagnose": (
        "error_log evidence mark model remains row_dependent row_evidence row_proofs touched"
    ),
    "refusal": "model",
    "session_state": "model pure_functions",
    "lost_tables": "model names_read session_state table_names",
    "steps": "lost_tables model remains session_state",
    "obstacles": "lost_tables model session_state table_names undo",
    "plan": (
        "__init__ diagnose error_log mark model obstacles policy refusal remains sql_text steps"
        " table_names touched undo"
    ),
    "consequences": "model",
    "verify": "consequences model quarantine table_names",
    "causes": "errors model sql_text",
    "offending": "errors model row_queries sql_text table_names",
    # containers, as the Docker Engine shows them
    "containers": "",
    "compose": "containers errors",
    "postgres_container": "compose containers errors",
    # words
    "text": "model",
    "pages": "model text",
    "report": "model text",
    "plan_sql": "model sql_text text",
    "log": "",
    # reading and doing
    "signals": "",
    "queries": "",
    "db": "errors",
    "wait": "errors",
    "history": "db dsn errors model queries",
    "lock": "db errors model queries",
    "blockers": "db errors lock queries",
    "snapshot": "model",
    "cluster": "errors",
    "embedded": "cluster errors",
    "shadow": "db embedded errors model queries signals",
    "replay": "calm_triggers db errors model queries script shadow snapshot",
    "tries": "errors",
    "offenders": "causes db errors model offending sql_text",
    "execute": (
        "blockers causes db errors model offenders queries remains signals snapshot tries verify"
    ),
    "rights": "db errors model queries",
    "deliver": "",
    "engine": "containers errors",
    "surroundings": "compose config containers engine",
    "whereabouts": "config dsn errors log postgres_container surroundings",
    "handover": "errors",
    # the program and its boundary
    "opening": "config db errors history lock log model queries wait whereabouts",
    "services": "compose config containers errors model opening surroundings",
    "outcomes": "config errors history model opening",
    "resolve": "config db errors history model opening outcomes queries",
    "id_reader": "db model",
    "row_reader": "column_types db errors model queries row_queries sql_text table_names",
    "examine": (
        "attempt_window db diagnose errors history id_reader live_tables made_before mark model"
        " new_columns own_functions plan queries replay row_evidence row_proofs row_reader script"
        " shadow snapshot table_names undo"
    ),
    "app": (
        "config diagnose errors examine execute history lock model opening outcomes plan rights"
        " quarantine services shadow tries"
    ),
    "telling": "config deliver errors log model pages plan_sql report text",
    "demo": "db embedded errors history model queries script",
    "cli": (
        "__init__ app config demo errors handover log model opening resolve settings signals"
        " telling"
    ),
    "__main__": "cli",
}

# Values in, values out.
PURE = (
    "errors model policy prisma_url dsn given settings settings_file inputs config pure_functions"
    " statement_reach never_run statement_kinds names_read row_conditions row_queries idempotent"
    " own_queries duplicates upserts led_by_with column_types row_changes"
    " anonymous_blocks own_functions temporary_tables script"
    " trigger_functions row_triggers calm_triggers"
    " error_log evidence table_names harmless attempt_window live_tables row_proofs new_columns"
    " failed_statement passing_columns row_evidence touched"
    " row_dependent made_before"
    " diagnose sql_text quarantine undo"
    " remains mark session_state lost_tables steps obstacles refusal plan consequences"
    " verify causes offending"
    " report text pages plan_sql queries parsers containers compose postgres_container"
).split()
NOT_IN_PURE = frozenset({"psycopg", "subprocess", "socket", "os", "time", "logging", "docker"})

# Libraries with one door each.
ONLY_IN = {
    "psycopg": {"db"},
    "postgast": {"offending", "row_queries", "script"},
    "subprocess": {"cluster", "demo"},
    "docker": {"engine"},
}

# Imported only where used: a run that finds nothing to do pays for none of them.
HEAVY = ("docker", "postgast", "rich", "structlog", "tenacity")

MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 40
ONLY_VALUES = frozenset({"model"})
"""May be longer, because the glossary is one text; what it computes is small instead."""
MAX_VALUE_FUNCTION_LINES = 15

SOURCES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(PACKAGE.glob("*.py"))}
TREES = {name: ast.parse(source) for name, source in SOURCES.items()}
MODULES = sorted(TREES)


def imports(module: str) -> Iterator[str]:
    """Dotted names of everything that a module imports, at its top or inside a function."""
    for node in ast.walk(TREES[module]):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(source), names=names, level=0):
                yield from (f"{source}.{alias.name}" for alias in names)
            case ast.ImportFrom():
                pytest.fail(f"{module} line {node.lineno}: write imports in full")


def inside(module: str) -> set[str]:
    """The modules of the package that a module imports; `sidecar.__version__` is __init__'s."""
    own = [name.split(".")[1] for name in imports(module) if name.startswith("sidecar.")]
    return {name if name in TREES else "__init__" for name in own}


def outside(module: str) -> set[str]:
    """The libraries that a module imports, by their top name."""
    return {name.split(".")[0] for name in imports(module)}


def functions(module: str) -> list[ast.FunctionDef]:
    """Every function and method of a module."""
    return [node for node in ast.walk(TREES[module]) if isinstance(node, ast.FunctionDef)]


def names_used(module: str) -> set[str]:
    """Every name that a module's code mentions or imports ('sys.exit', 'SystemExit')."""
    nodes = (node for node in ast.walk(TREES[module]) if isinstance(node, ast.Attribute | ast.Name))
    return {ast.unparse(node) for node in nodes} | set(imports(module))


def swallows_everything(handler: ast.ExceptHandler) -> bool:
    """Whether a handler catches every error and does not raise it again as its last act."""
    caught = ast.unparse(handler.type) if handler.type else "BaseException"
    again = isinstance(handler.body[-1], ast.Raise) and handler.body[-1].exc is None
    return caught in {"Exception", "BaseException"} and not again


def test_every_module_has_a_place_in_the_layers() -> None:
    """The table names exactly the modules there are."""
    assert sorted(LAYERS) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_what_its_layer_allows(module: str) -> None:
    """No module reaches past the row it has in the table, and no row allows what nobody uses."""
    assert inside(module) == set(LAYERS.get(module, "").split())


def test_the_layers_have_no_cycle() -> None:
    """Each module can be read before those that import it."""
    table = {module: allowed.split() for module, allowed in LAYERS.items()}
    assert set(TopologicalSorter(table).static_order()) == set(LAYERS)


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_computes_and_does_nothing_else(module: str) -> None:
    """No database, process, network, clock, file system or log in the pure core."""
    assert not outside(module) & NOT_IN_PURE
    calls = {
        ast.unparse(node.func) for node in ast.walk(TREES[module]) if isinstance(node, ast.Call)
    }
    assert not {"open", "print", "input"} & calls


@pytest.mark.parametrize("library", sorted(ONLY_IN))
def test_a_library_has_one_door(library: str) -> None:
    """psycopg, the parser and child processes are each known to one place."""
    assert {module for module in MODULES if library in outside(module)} <= ONLY_IN[library]


def test_the_command_starts_without_the_heavy_libraries() -> None:
    """A healthy database is no reason to load the parser, the logs' formatter or the terminal's."""
    code = f"import sys, sidecar.cli; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stdout.split()


@pytest.mark.parametrize("module", sorted({*MODULES} - {"cli", "__main__"}))
def test_only_the_boundary_exits_and_catches_everything(module: str) -> None:
    """`cli` alone turns failures into exit codes; nobody else swallows them.

    But for the last resort of `signals`, where unwinding to the boundary hangs.
    """
    allowed = {"os._exit"} if module == "signals" else set()
    assert {"sys.exit", "os._exit", "SystemExit"} & names_used(module) <= allowed
    handlers = (node for node in ast.walk(TREES[module]) if isinstance(node, ast.ExceptHandler))
    assert [node.lineno for node in handlers if swallows_everything(node)] == []


@pytest.mark.parametrize("module", sorted({*MODULES} - {"cli"}))
def test_only_the_boundary_reads_the_environment(module: str) -> None:
    """`cli` hands the environment to `config` as a mapping."""
    assert not {"os.environ", "os.environb", "os.getenv"} & names_used(module)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_fits_in_the_head(module: str) -> None:
    """No module has more than 300 lines, no function more than 40; values have hardly any."""
    values = module in ONLY_VALUES
    assert values or SOURCES[module].count("\n") <= MAX_MODULE_LINES
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions(module)}
    limit = MAX_VALUE_FUNCTION_LINES if values else MAX_FUNCTION_LINES
    assert {name: lines for name, lines in lengths.items() if lines > limit} == {}


@pytest.mark.parametrize("module", MODULES)
def test_what_is_public_says_what_comes_back(module: str) -> None:
    """Every module and every public function has a docstring."""
    assert ast.get_docstring(TREES[module])
    public = [node for node in TREES[module].body if isinstance(node, ast.FunctionDef)]
    bare = [node.name for node in public if not ast.get_docstring(node)]
    assert [name for name in bare if not name.startswith("_")] == []


def test_no_pattern_is_possessive() -> None:
    """Early releases of Python 3.11 take `*+` and `(?>` and then miss what they should find."""
    possessive = re.compile(r"[\])}\w.][*+?}]\+|\(\?>")
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                pattern = "(?" in node.value or "[^" in node.value or ")*" in node.value
                assert not (pattern and possessive.search(node.value)), (path.name, node.lineno)
