"""The migrations folder as Prisma reads it, oddities included, and whose ledger is ours."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.errors import ConfigError, ExitCode
from sidecar.history import (
    Server,
    checksum_matches,
    ledger_schema,
    list_folder,
    lock_file_provider,
    read_folder,
    read_migration,
)
from sidecar.model import MigrationName

SQL = "CREATE TABLE t ();\n"
NAME = MigrationName("20251101090000_init")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A migrations folder with one migration and the lock file."""
    (tmp_path / "migration_lock.toml").write_text('provider = "postgresql"\n')
    write(tmp_path, NAME, SQL)
    return tmp_path


def write(folder: Path, name: str, script: str | bytes) -> Path:
    """Write one migration."""
    (folder / name).mkdir()
    path = folder / name / "migration.sql"
    path.write_bytes(script.encode() if isinstance(script, str) else script)
    return path


# --- the folder ------------------------------------------------------------------


def test_a_folder_is_read_whole(folder: Path) -> None:
    """Name, text and checksum of each migration, without a warning."""
    read = read_folder(str(folder))
    (file,) = read.files
    assert (file.name, file.text, file.problem) == (NAME, SQL, "")
    assert file.checksum == hashlib.sha256(SQL.encode()).hexdigest()
    assert read.warnings == ()
    assert read.find(NAME) is file
    assert read.find(MigrationName("other")) is None


def test_every_real_directory_counts(folder: Path) -> None:
    """Prisma asks for directories only: hidden ones and lost+found too; files are no migrations."""
    (folder / "README.md").write_text("read me")
    (folder / "20240101000000_file.sql").write_text(SQL)
    for name in ("lost+found", ".git", "..2024_data"):
        (folder / name).mkdir()
    names, _ = list_folder(str(folder))
    assert set(names) == {NAME, "lost+found", ".git", "..2024_data"}


def test_a_linked_directory_is_ignored_with_a_warning(folder: Path, tmp_path: Path) -> None:
    """Prisma looks at the entry, not at where it leads."""
    (folder / "20260101000000_link").symlink_to(tmp_path / NAME)
    (folder / "20260101000001_nowhere").symlink_to(tmp_path / "nowhere")
    names, warnings = list_folder(str(folder))
    assert names == (NAME,)
    assert len(warnings) == 1
    assert "20260101000000_link" in warnings[0]


def test_a_folder_that_is_a_link_is_read(folder: Path, tmp_path: Path) -> None:
    """As it is mounted in many a container."""
    link = tmp_path / "link"
    link.symlink_to(folder, target_is_directory=True)
    assert list_folder(str(link))[0] == (NAME,)


@pytest.mark.parametrize(
    ("name", "word"), [("absent", "does not exist"), ("file", "cannot be read")]
)
def test_a_folder_that_cannot_be_read_is_an_empty_one(tmp_path: Path, name: str, word: str) -> None:
    """As for Prisma, but not in silence."""
    (tmp_path / "file").write_text("no folder")
    read = read_folder(str(tmp_path / name))
    assert read.files == ()
    assert word in read.warnings[0]


def test_a_name_that_is_not_text_is_read(folder: Path) -> None:
    """A file system holds bytes; a strange one is no reason to stop."""
    (folder / os.fsdecode(b"20260101000000_\xff")).mkdir()
    names, _ = list_folder(str(folder))
    assert len(names) == 2


# --- the order -------------------------------------------------------------------

# Prisma 6.19.3 on Node's ICU, LC_ALL=C
ORDER = (
    "_z",
    "0_init",
    "10_x",
    "2024-01-01",
    "20240101_x",
    "202401010_x",
    "20240101000000_a",
    "20240101000000_ä",
    "20240101000000_B",
    "20240101000000-a",
    "9_x",
    "a",
    "A",
)


def made(folder: Path, *names: str) -> Path:
    """Make directories."""
    for name in names:
        (folder / name).mkdir()
    return folder


def test_the_order_is_that_of_prisma(tmp_path: Path) -> None:
    """From 6.6 on Prisma sorts as people do, not by bytes."""
    names, warnings = list_folder(str(made(tmp_path, *reversed(ORDER))))
    assert names == ORDER
    assert any("order differs" in warning for warning in warnings)


def test_blanks_come_first(tmp_path: Path) -> None:
    """The root collation has them before punctuation."""
    assert list_folder(str(made(tmp_path, "1_a", "1 b", "1a")))[0] == ("1 b", "1_a", "1a")


usual = st.from_regex(r"20[0-9]{12}_[a-z0-9_]{0,9}", fullmatch=True)


@settings(max_examples=30)  # each makes directories
@given(st.lists(usual, unique_by=lambda name: name[:14], max_size=5))
def test_usual_names_have_one_order(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    """Where each has a time of its own, old and new Prisma agree, and nobody is warned."""
    folder = made(tmp_path_factory.mktemp("migrations"), *names)
    assert list_folder(str(folder)) == (tuple(sorted(names)), ())


# --- one script ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("", ""),
        ("SELECT 'ä';", "SELECT 'ä';"),
        ("a\r\nb\r", "a\r\nb\r"),
        (b"\xef\xbb\xbfSELECT 1", "\ufeffSELECT 1"),
        (b"SELECT '\xff\xfe';", "SELECT '\ufffd\ufffd';"),
        (b"\xe2\x82", "\ufffd"),
    ],
    ids=["empty", "utf-8", "line-ends", "bom", "not-utf-8", "cut-off"],
)
def test_a_script_is_read_as_node_reads_it(tmp_path: Path, script: str | bytes, text: str) -> None:
    """Nothing is trimmed; bytes that are no UTF-8 are replaced, and the checksum is of that."""
    write(tmp_path, NAME, script)
    file = read_migration(str(tmp_path), NAME)
    assert (file.text, file.problem) == (text, "")
    assert file.checksum == hashlib.sha256(text.encode()).hexdigest()


def test_a_script_behind_a_link_is_read(folder: Path) -> None:
    """Only the directory must be a real one."""
    made(folder, "20260101000000_x")
    (folder / "20260101000000_x" / "migration.sql").symlink_to(folder / NAME / "migration.sql")
    assert read_migration(str(folder), MigrationName("20260101000000_x")).text == SQL


@pytest.mark.parametrize("obstacle", ["absent", "directory", "broken link", "another case"])
def test_a_script_that_cannot_be_read_says_why(tmp_path: Path, obstacle: str) -> None:
    """The problem names the file; nothing is raised."""
    made(tmp_path, NAME)
    path = tmp_path / NAME / "migration.sql"
    match obstacle:
        case "directory":
            path.mkdir()
        case "broken link":
            path.symlink_to("nowhere")
        case "another case":
            path.with_name("Migration.sql").write_text(SQL)
    (file,) = read_folder(str(tmp_path)).files
    assert file.text is None
    assert file.checksum == ""
    assert f"{NAME}/migration.sql cannot be read" in file.problem


# --- checksums -------------------------------------------------------------------


def digest(text: str) -> str:
    """As Prisma stores it now."""
    return hashlib.sha256(text.encode()).hexdigest()


def legacy(text: str) -> str:
    """As Prisma stored it once: bytes without their leading zeros."""
    return "".join(f"{byte:x}" for byte in hashlib.sha256(text.encode()).digest())


UNIX, DOS = "a;\nb;\n", "a;\r\nb;\r\n"


@pytest.mark.parametrize(
    ("stored", "text", "same"),
    [
        (digest(UNIX), UNIX, True),
        (digest(DOS), DOS, True),
        (digest(DOS), UNIX, True),
        (digest(UNIX), DOS, True),
        (digest("a;\r\nb;\n"), "a;\r\nb;\n", True),
        (digest(UNIX), UNIX + " ", False),
        (digest(UNIX), "\ufeff" + UNIX, False),
        (digest(UNIX).upper(), UNIX, False),
        (legacy(UNIX), UNIX, True),
        (legacy(DOS), UNIX, True),
        (legacy(UNIX), UNIX + " ", False),
        ("", UNIX, False),
        ("by hand", UNIX, False),
    ],
)
def test_whether_a_file_was_edited(stored: str, text: str, *, same: bool) -> None:
    """Line ends do not count; old checksums are read too."""
    assert checksum_matches(stored, text) is same


def test_the_old_format_is_told_by_its_length() -> None:
    """The example above has a byte below 16, or it would test nothing."""
    assert len(legacy(UNIX)) < 64


@given(st.text(alphabet="ab;\n ", max_size=20))
def test_line_ends_never_count(text: str) -> None:
    """Whatever git made of them on the way."""
    dos = text.replace("\n", "\r\n")
    assert checksum_matches(digest(text), dos)
    assert checksum_matches(digest(dos), text)


# --- migration_lock.toml ---------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "provider"),
    [
        ('provider = "postgresql"', "postgresql"),
        ('# do not edit\nprovider = "postgresql"\r\n', "postgresql"),
        ('provider = "mysql"\nprovider = "postgresql"', "mysql"),
        ('provider="postgresql"', 'provider="postgresql'),
        ("provider = 'postgresql'", "'postgresql'"),
        (' provider = "postgresql"', "<PROVIDER NOT FOUND>"),
        ("", "<PROVIDER NOT FOUND>"),
        ("\ufeffprovider = x", "<PROVIDER NOT FOUND>"),
    ],
)
def test_the_lock_file_is_read_as_prisma_reads_it(folder: Path, text: str, provider: str) -> None:
    """It is not parsed as TOML: a line that begins with `provider`, and nothing else, counts."""
    (folder / "migration_lock.toml").write_text(text, newline="")
    assert lock_file_provider(str(folder)) == provider
    warnings = read_folder(str(folder)).warnings
    assert bool(warnings) == (provider != "postgresql")
    assert all("P3019" in warning and provider in warning for warning in warnings)


def test_a_lock_file_that_is_absent_or_unreadable(folder: Path) -> None:
    """Prisma is content without one; one that cannot be read is not the right one."""
    lock = folder / "migration_lock.toml"
    lock.write_bytes(b"provider = \xff")
    assert lock_file_provider(str(folder)) == "<UNREADABLE>"
    lock.unlink()
    assert lock_file_provider(str(folder)) is None
    assert read_folder(str(folder)).warnings == ()
    lock.mkdir()
    assert lock_file_provider(str(folder)) == "<UNREADABLE>"


# --- whose ledger ----------------------------------------------------------------


def server(*ledgers: str, path: tuple[str, ...] = ("public",)) -> Server:
    """A server whose database has ledgers in these schemas."""
    return Server("17.2", False, False, ", ".join(path), path, 1, ledgers, False, True)  # noqa: FBT003 (a row)


# id: schemas with a ledger, search path, the setting, ?schema=, the choice
LEDGERS: dict[str, tuple[tuple[str, ...], tuple[str, ...], str | None, str | None, str | None]] = {
    "none": ((), ("public",), None, None, None),
    "none, ?schema=": ((), ("app",), None, "app", None),
    "none, set": ((), ("public",), "app", None, None),
    "public": (("public",), ("public",), None, None, "public"),
    "set": (("app", "public"), ("public",), "app", None, "app"),
    "set beats ?schema=": (("app", "public"), ("public",), "app", "public", "app"),
    "set, but not there": (("public",), ("public",), "app", None, None),
    "?schema=": (("app", "public"), ("public",), None, "app", "app"),
    "?schema= ignored by an adapter": (("public",), ("app",), None, "app", "public"),
    "search path": (("app", "public"), ("app", "public"), None, None, "app"),
    "search path, second": (("other", "public"), ("app", "public"), None, None, "public"),
    "own schema of the role": (("ada",), ("ada", "public"), None, None, "ada"),
    "the only one": (("app",), ("public",), None, None, "app"),
    "another tenant's": (("shop",), ("app",), None, "app", None),
    "an adapter's beside another tenant's": (("public", "shop"), ("app",), None, "app", "public"),
}
GUESSES: dict[str, tuple[tuple[str, ...], str | None]] = {
    "two elsewhere": (("app", "shop"), None),
    "three elsewhere": (("app", "blog", "shop"), None),
}


@pytest.mark.parametrize("name", LEDGERS)
def test_the_schema_of_the_ledger(name: str) -> None:
    """The setting, then `?schema=`, then the search path, then the only one there is."""
    ledgers, path, wanted, url_schema, expected = LEDGERS[name]
    known = server(*ledgers, path=path)
    assert ledger_schema(known, wanted=wanted, url_schema=url_schema) == expected


@pytest.mark.parametrize("name", GUESSES)
def test_a_ledger_is_never_guessed(name: str) -> None:
    """Exit 2, with the schemas by name and the setting that decides."""
    ledgers, url_schema = GUESSES[name]
    with pytest.raises(ConfigError) as caught:
        ledger_schema(server(*ledgers), wanted=None, url_schema=url_schema)
    assert caught.value.exit_code is ExitCode.USAGE
    assert all(schema in caught.value.what for schema in ledgers)
    assert any("SIDECAR_LEDGER_SCHEMA" in step for step in caught.value.next_steps)
