"""Gathers all that is known of one failed migration and has it diagnosed.

This is where reading (the folder, the shadow, the live catalog) meets the pure core; it
changes nothing but the shadow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sidecar import (
    attempt_window,
    diagnose,
    id_reader,
    made_before,
    mark,
    row_reader,
    script,
    snapshot,
)
from sidecar.db import identifier
from sidecar.errors import DatabaseError, ShadowError
from sidecar.history import checksum_matches
from sidecar.live_tables import qualified
from sidecar.model import (
    Effect,
    Facts,
    Finding,
    FindingName,
    Folder,
    Ledger,
    LedgerRow,
    MigrationFile,
    Nature,
    Replay,
    Script,
)
from sidecar.new_columns import start_values
from sidecar.own_functions import quiet
from sidecar.plan import Situation
from sidecar.queries import EXTENSIONS
from sidecar.replay import Past, replay
from sidecar.row_evidence import insert_keys, read_alike
from sidecar.row_proofs import RowEvidence
from sidecar.shadow import Live, Rung, shadow
from sidecar.table_names import parts
from sidecar.undo import created_tables


@dataclass(frozen=True, slots=True)
class Examiner:
    """What stays the same for all failed migrations of one run."""

    live: Live
    folder: Folder
    rung: Rung
    shadow_url: Mapping[str, str] | None
    embedded_dir: str | None = None

    def first_failed(self, ledger: Ledger) -> tuple[LedgerRow, ...]:
        """Failed attempts, one for each migration, in the order of the folder."""
        latest = {row.migration_name: row for row in ledger.failed}
        order = {file.name: number for number, file in enumerate(self.folder.files)}
        return tuple(
            sorted(latest.values(), key=lambda row: order.get(row.migration_name, len(order)))
        )

    def examine(self, row: LedgerRow, ledger: Ledger) -> Situation:
        """The situation of one failed migration; the caller holds Prisma's lock."""
        file = self.folder.find(row.migration_name)
        if file is None or file.text is None:
            problem = file.problem if file else f"{self.folder.path} has no {row.migration_name}"
            return self._situation(diagnose.script_missing(row, problem), ledger)
        try:
            parsed = script.parse(file.text)
        except script.ScriptError as exc:
            missing = f"PostgreSQL's parser refuses line {exc.line} of the script: {exc.message}"
            return self._situation(diagnose.undetermined(row, missing), ledger, file=file)
        return self._replayed(row, ledger, file, parsed)

    def _replayed(
        self, row: LedgerRow, ledger: Ledger, file: MigrationFile, parsed: Script
    ) -> Situation:
        session = self.live.session
        edited = not checksum_matches(row.checksum, file.text or "")
        version = session.server_version
        past = self._past(row, ledger)
        counter = id_reader.counter(session)  # before the shadow is made, which takes ids itself
        try:
            with (
                shadow(
                    self.live,
                    rung=self.rung,
                    url=self.shadow_url,
                    embedded_dir=self.embedded_dir,
                ) as made,
                snapshot.read_meanwhile(session, server_version=version) as reading,
            ):
                replayed = replay(made, self.live, past, parsed)
                facts = reading.result()
        except ShadowError as exc:
            facts = snapshot.read(session, server_version=version)
            missing = "; ".join((exc.what, *exc.next_steps))
            finding = diagnose.without_shadow(row, parsed, facts, missing, edited=edited)
            return self._situation(finding, ledger, facts=facts, file=file, script=parsed)
        if own := quiet(parsed, replayed, facts):
            parsed = script.parse(file.text or "", quiet=own)
        earlier = self._may_be_of_an_earlier_attempt(row, ledger, replayed, facts)
        case = diagnose.Case(row, parsed, replayed, facts, edited, earlier)
        case = self._without_what_was_there(case, ledger)
        finding = diagnose.diagnose(case)
        if len(finding.candidates) > 1:
            case = replace(case, script=self._qualified(parsed))
            rows = self._rows(case, ledger, finding.candidates, until=counter)
            finding = diagnose.diagnose(replace(case, rows=rows))
        found = self._situation(
            finding, ledger, facts=facts, file=file, script=parsed, replayed=replayed
        )
        return replace(found, before=case.before)

    def _qualified(self, parsed: Script) -> Script:
        path = self.live.search_path
        if len(parts(path)) == 1 and "," not in path:  # as Prisma sets it
            return qualified(parsed, *parts(path))
        return parsed

    def _may_be_of_an_earlier_attempt(
        self, row: LedgerRow, ledger: Ledger, replayed: Replay, facts: Facts
    ) -> bool:
        """Whether what the script made is not known to be younger than its other attempts."""
        others = {r.id for r in ledger.rows if r.migration_name == row.migration_name} - {row.id}
        made = {key for effect in replayed.effects for key in attempt_window.brought(effect)}
        if not others or made.isdisjoint(facts):
            return False
        read = id_reader.marks(self.live.session, ledger, made & facts.keys())
        before = min(read.ledger.get(other, attempt_window.FAR) for other in others)
        return not read.facts or any(age >= before for age in read.facts.values())

    def _without_what_was_there(self, case: diagnose.Case, ledger: Ledger) -> diagnose.Case:
        """The case, if what somebody had made before could pass for the script's work."""
        if case.replay.problem:
            return case
        script, effects = case.script, case.replay.effects
        asked = made_before.in_question(script, effects, case.live)
        if not asked:
            return case
        session = self.live.session
        touched = {change.key for effect in effects for change in effect}
        read = id_reader.marks(session, ledger, touched, attempt_window.bare_columns(effects))
        least = id_reader.at_least(session, read, asked)
        found = made_before.made_before(case.row, read, least, case.replay, script, case.live)
        replayed = made_before.as_if_there(case.replay, found, case.live)
        return replace(case, replay=replayed, before=found)

    def _rows(
        self, case: diagnose.Case, ledger: Ledger, candidates: tuple[int, ...], *, until: int
    ) -> RowEvidence:
        """What the rows show of the statements that the catalog leaves open."""
        first, last = candidates[0], candidates[-1]
        alike = read_alike(case.script)
        row, effects = _since_mark(case)
        touched = {change.key for effect in effects[:last] for change in effect}
        session = self.live.session
        bare = attempt_window.bare_columns(case.replay.effects)
        read = id_reader.marks(session, ledger, touched, bare)
        before = (case.replay.base.keys() & case.live.keys()) - touched
        read = replace(read, history=id_reader.youngest(session, read, before))
        read = attempt_window.with_drops(row, ledger.rows, read, effects)
        opened = attempt_window.window(row, ledger.rows, read, effects, candidates)
        why_not, known = (opened, None) if isinstance(opened, str) else ("", opened)
        data = [s for s in case.script.statements[first:last] if s.nature is Nature.DATA]
        data = [s for s in data if s.index <= alike]
        keys = insert_keys(data, case.live)
        path, starts = self.live.search_path, start_values(data, case.live)
        seen = row_reader.seen(session, data, known, keys=keys, starts=starts, search_path=path)
        none = (
            known is not None
            and known.sharp
            and id_reader.nothing_committed(session, read, row.id, since=known.oldest, until=until)
        )
        drops = attempt_window.drops_within(row, read) if known else {}
        return RowEvidence(known, why_not, seen, read.facts, keys, drops, quiet=none)

    def _situation(
        self,
        finding: Finding,
        ledger: Ledger,
        *,
        facts: Facts | None = None,
        file: MigrationFile | None = None,
        script: Script | None = None,
        replayed: Replay | None = None,
    ) -> Situation:
        return Situation(
            finding=finding,
            ledger=ledger,
            table=identifier(ledger.schema, "_prisma_migrations"),
            live=facts or {},
            file=file,
            script=script,
            replay=replayed,
            occupied=self._occupied(finding, replayed),
        )

    def _past(self, row: LedgerRow, ledger: Ledger) -> Past:
        """What ran before this attempt: earlier in time, or earlier in the folder."""
        place = {file.name: number for number, file in enumerate(self.folder.files)}
        before = {
            other.migration_name
            for other in ledger.rows
            if other.rolled_back_at is None
            and other.migration_name in place
            and other.migration_name != row.migration_name
            and (
                place[other.migration_name] < place[row.migration_name]
                or (other.applied and other.started_at < row.started_at)
            )
        }
        files = tuple(file for file in self.folder.files if file.name in before)
        extensions = tuple(self.live.session.query(EXTENSIONS))
        return Past(ledger=ledger, files=files, extensions=extensions)

    def _occupied(self, finding: Finding, replayed: Replay | None) -> frozenset[str]:
        """The tables which this migration created and which hold rows."""
        if replayed is None or finding.name is not FindingName.PARTLY_APPLIED:
            return frozenset()
        tables = created_tables(replayed.effects[: finding.applied])
        return frozenset(table for table in tables if self._may_hold_rows(table))

    def _may_hold_rows(self, table: str) -> bool:
        """Whether `table`, as PostgreSQL quotes it, holds rows; so it may where we cannot look."""
        try:
            return bool(self.live.session.query(f"SELECT EXISTS (SELECT FROM {table})")[0][0])  # noqa: S608
        except DatabaseError as exc:
            if exc.sqlstate != "42501":  # insufficient_privilege
                raise
            return True


def _since_mark(case: diagnose.Case) -> tuple[LedgerRow, tuple[Effect, ...]]:
    """The attempt as it went on after the mark of an earlier repair, which wrote the row anew."""
    noted = mark.committed(case.row, case.script)
    if noted is None:
        return case.row, case.replay.effects
    none: tuple[Effect, ...] = ((),)
    return replace(case.row, logs=None), none * noted + case.replay.effects[noted:]
