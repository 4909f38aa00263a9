"""Prisma's connection URLs, handed to libpq as keyword arguments.

libpq refuses Prisma's URLs (`?schema=` is an "invalid URI query parameter") and shares some
names with another meaning (`sslcert`). So they are read here as Prisma's engine reads them
(prisma-engines, quaint/src/connector/postgres/url.rs), and no other module ever sees one.
Where this differs from Prisma it refuses or warns; it never connects with less protection:

- `sslmode=verify-ca` and `verify-full` mean what libpq means (Prisma's engine: `prefer`), and
  `sslaccept=strict` is `verify-full`, with the system's authorities unless a root is named.
- `sslcert` is Prisma's root certificate, unless `sslkey` is there without `sslclientcert`: then
  the URL is in the words of libpq and node-postgres, where it is the client's certificate.
- With a root certificate, `sslmode=prefer` is `require`, and checks it: libpq would go on without
  TLS where the certificate does not fit, and Prisma's engine does not look at all.
- `sslidentity` (PKCS#12) is nothing libpq can read: `sslclientcert` and `sslkey`, which Prisma's
  engine ignores, stand beside it in the same URL.
- Several hosts are refused: locks and repairs belong to one server, and Prisma has no such URL.
- Timers of Prisma's pool and client (`pool_timeout`, `socket_timeout`...) are dropped: a repair
  may rightly take longer than a request.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType
from typing import Final
from urllib.parse import quote, quote_plus, urlencode

from sidecar.errors import ConfigError
from sidecar.prisma_url import Notes, Parts, cut, decode

__all__ = ["Target", "at_address", "parse", "secrets"]

_ADDRESS: Final = re.compile(r"(?P<host>\[[^\]]+\]|[^:]*)(?::(?P<port>.*))?", re.DOTALL)
_HOST: Final = re.compile(r"""[/@](?s:.*)|[^\s<>"'\[\]\\^|$`{}/@]+""")
_KNOWN: Final = re.compile(
    r"application_name|channel_binding|connect_timeout|connection_limit|host|max_connection_lifetime"
    r"|max_idle_connection_lifetime|options|pgbouncer|pool_timeout|schema|socket_timeout|sslaccept"
    r"|sslcert|sslclientcert|sslidentity|sslkey|sslmode|sslpassword|sslrootcert"
    r"|statement_cache_size"
)
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_SSLMODES: Final = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
_PORTS: Final = range(1, 2**16)
_MAX_SECONDS: Final = 2**31 - 1  # libpq reads connect_timeout into an int


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect, and how.

    `conninfo` holds libpq's keywords, the password among them, and is never shown; take
    `display` for people. `schema` is Prisma's `?schema=`, None where the URL leaves it to the
    server's search_path. `warnings` say what was understood otherwise than Prisma does.
    """

    conninfo: Mapping[str, str] = field(repr=False)
    schema: str | None
    pgbouncer: bool  # says the URL; `warnings` also know poolers by name and port
    warnings: tuple[str, ...]

    @property
    def host(self) -> str:
        """A name, an address without brackets, or the directory of a socket."""
        return self.conninfo["host"]

    @property
    def port(self) -> int:
        return int(self.conninfo["port"])

    @property
    def database(self) -> str:
        return self.conninfo["dbname"]

    @property
    def user(self) -> str:
        """The role, or '' where the URL names none (then libpq's default holds)."""
        return self.conninfo.get("user", "")

    @property
    def search_path(self) -> str | None:
        """What `conninfo` sets, as Prisma does: the quoted schema alone, without public."""
        return None if self.schema is None else _quoted(self.schema)

    @property
    def probe_conninfo(self) -> Mapping[str, str]:
        """`conninfo` for asking whether a server answers: PgBouncer refuses `options`."""
        dropped = {"options"} if self.pgbouncer else set[str]()
        return {name: value for name, value in self.conninfo.items() if name not in dropped}

    @property
    def display(self) -> str:
        """The URL without secrets and parameters of transport; `parse` reads it again."""
        host, query = self.host, {}
        if host.startswith(("/", "@")):
            host, query = "", {"host": host}
        elif ":" in host:
            host = f"[{host}]"
        if self.schema is not None:
            query["schema"] = self.schema
        user = quote(self.user, safe="") + "@" if self.user else ""
        tail = "?" + urlencode(query, safe="/") if query else ""
        return f"postgresql://{user}{host}:{self.port}/{quote(self.database, safe='')}{tail}"


def parse(url: str, *, variable: str) -> Target:
    """Return where `url`, the value of the setting `variable`, points.

    Spaces, line ends and quotes around it, as .env and secret files leave them, are no part
    of it. Raises ConfigError with all mistakes; neither they nor the warnings quote the URL.
    """
    notes = Notes(variable)
    parts = cut(url, notes)
    target = _target(parts, notes) if parts else None
    if target is None or notes.mistakes:
        raise ConfigError(tuple(notes.mistakes))
    return target


def at_address(target: Target, host: str, port: int, addr: str, *, says: str) -> Target:
    """Return the same database at another address, which `addr` pins; `says` warns of it."""
    where = {"host": host, "port": str(port)} | ({"hostaddr": addr} if addr else {})
    conninfo = MappingProxyType({**target.conninfo, **where})
    return dataclasses.replace(target, conninfo=conninfo, warnings=(*target.warnings, says))


def secrets(target: Target) -> tuple[str, ...]:
    """Return every spelling of the target's secrets that no output may hold."""
    given = [target.conninfo.get(name, "") for name in ("password", "sslpassword")]
    spellings = [(raw, quote(raw), quote(raw, safe=""), quote_plus(raw)) for raw in given if raw]
    return tuple(dict.fromkeys(chain.from_iterable(spellings)))


def _target(parts: Parts, notes: Notes) -> Target:
    schema, pgbouncer = parts.params.get("schema"), _pgbouncer(parts.params, notes)
    if schema == "":
        notes.mistake("schema= is empty; name a schema or remove it")
    conninfo = {
        **_address(parts, notes),
        **_credentials(parts.userinfo),
        "dbname": decode(parts.path.removeprefix("/").partition("/")[0]) or "postgres",
        **_session(parts.params, notes),
        **_options(parts.params.get("options", ""), schema),
        **_tls(parts.params, notes),
    }
    if any("\0" in value for value in conninfo.values()):
        notes.mistake("holds a zero byte (%00), which PostgreSQL accepts nowhere")
    _warn_unknown(parts.params, notes)
    _warn_pooler(conninfo, notes, pgbouncer=pgbouncer)
    return Target(MappingProxyType(conninfo), schema, pgbouncer, tuple(notes.warnings))


def _address(parts: Parts, notes: Notes) -> dict[str, str]:
    """Return host and port; `?host=` wins over the URL's host, never over its port."""
    match = _ADDRESS.fullmatch(parts.address)
    host, port = (match["host"], match["port"] or "5432") if match else (parts.address, "5432")
    host = parts.params.get("host") or decode(host) or "localhost"
    host = re.sub(r"^\[(.+)\]$", r"\1", host)
    several = "," in host + parts.address
    if several:
        notes.mistake("names several hosts; name the one that takes writes, as for Prisma")
    elif not _HOST.fullmatch(host):
        notes.mistake(
            "the host is no name or address; look for a ${...} that was never filled in, or a"
            " character in the password to percent-encode"
        )
    if not several and not (re.fullmatch(r"[0-9]{1,5}", port) and int(port) in _PORTS):
        notes.mistake(
            "the port is not a number from 1 to 65535; in a password write / as %2F, ? as %3F and"
            " # as %23; an IPv6 address stands in [ ]"
        )
    return {"host": host, "port": port}


def _credentials(userinfo: str) -> dict[str, str]:
    """Return user and password, each only where given."""
    user, _, password = userinfo.partition(":")
    given = (("user", user), ("password", password))
    return {name: decode(encoded) for name, encoded in given if encoded}


def _pgbouncer(params: Mapping[str, str], notes: Notes) -> bool:
    value = params.get("pgbouncer", "false")
    if value not in {"true", "false"}:
        notes.mistake("pgbouncer is neither true nor false")
    return value == "true"


def _session(params: Mapping[str, str], notes: Notes) -> dict[str, str]:
    timeout = params.get("connect_timeout", "5")  # 0: no limit, to Prisma and to libpq
    if not re.fullmatch(r"[0-9]{1,18}", timeout):
        notes.mistake("connect_timeout is not a whole number of seconds (0: no limit)")
        timeout = "0"
    binding = params.get("channel_binding", "prefer")
    if binding not in {"disable", "prefer", "require"}:
        notes.warn("channel_binding is unknown and read as prefer, as Prisma does")
        binding = "prefer"
    return {
        "application_name": params.get("application_name") or "migration-sidecar",
        "connect_timeout": str(min(int(timeout), _MAX_SECONDS)),
        "channel_binding": binding,
    }


def _options(given: str, schema: str | None) -> dict[str, str]:
    """Return startup options that end with the schema's search_path: the last one counts.

    The server splits them at whitespace and takes a backslash as escape (PostgreSQL, libpq,
    "options"); quotes mean nothing to it there and reach the setting as they are.
    """
    if schema:
        escaped = re.sub(r"([\\\s])", r"\\\1", _quoted(schema))
        given = f"{given} -c search_path={escaped}".lstrip()
    return {"options": given} if given else {}


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


# --- TLS ---------------------------------------------------------------------------


def _tls(params: Mapping[str, str], notes: Notes) -> dict[str, str]:
    """Return libpq's ssl keywords; the module's docstring has the rules."""
    root, certificate, key = _certificates(params)
    mode = _sslmode(params, notes)
    if mode == "disable":
        return {"sslmode": mode}
    if params.get("sslaccept", "accept_invalid_certs") != "accept_invalid_certs":
        root, mode = root or "system", "verify-full"  # any other word is strict to Prisma
    if root and mode in {"", "prefer", "allow"}:
        mode = "verify-full" if root == "system" else "require"
    if root == "system" and mode != "verify-full":
        notes.mistake("sslrootcert=system needs sslmode=verify-full (libpq accepts no less)")
    if "sslidentity" in params and not (certificate and key):
        notes.mistake(_CONVERT_IDENTITY)
    _warn_root(root, mode, notes)
    password = params.get("sslpassword", "")
    files = {"sslrootcert": root, "sslcert": certificate, "sslkey": key, "sslpassword": password}
    return {"sslmode": mode or "prefer"} | {name: value for name, value in files.items() if value}


_CONVERT_IDENTITY: Final = (
    "sslidentity (PKCS#12) cannot be used here; convert it (openssl pkcs12 -in FILE -clcerts"
    " -nokeys -out client.crt; openssl pkcs12 -in FILE -nocerts -nodes -out client.key; chmod 600"
    " client.key) and add sslclientcert=/PATH/client.crt&sslkey=/PATH/client.key to the URL,"
    " which Prisma's engine ignores"
)


def _certificates(params: Mapping[str, str]) -> tuple[str, str, str]:
    """Return the files of root certificate, client certificate and its key, '' for none."""
    names = ("sslrootcert", "sslcert", "sslclientcert", "sslkey")
    root, given, client, key = (params.get(name, "") for name in names)
    return (root, given, key) if key and not client else (root or given, client, key)


def _sslmode(params: Mapping[str, str], notes: Notes) -> str:
    """Return libpq's word for `sslmode`, '' where the URL has none."""
    mode = params.get("sslmode")
    if mode is None or mode in _SSLMODES:
        return mode or ""
    if mode == "no-verify":  # node-postgres: encrypted, unverified
        return "require"
    notes.warn("sslmode is unknown and read as prefer, as Prisma does")
    return "prefer"


def _warn_root(root: str, mode: str, notes: Notes) -> None:
    if mode.startswith("verify-") and not root:
        notes.warn(
            f"sslmode={mode} verifies the server here, unlike in Prisma's engine; libpq reads"
            " ~/.postgresql/root.crt unless sslrootcert= names a file, or says system"
        )
    if root and root != "system" and not root.startswith("/"):
        notes.warn(
            "the root certificate's path is relative: Prisma's engine looks for it beside"
            " schema.prisma, this program in its working directory"
        )


def _warn_unknown(params: Mapping[str, str], notes: Notes) -> None:
    unknown = sorted(name for name in params if not _KNOWN.fullmatch(name))
    if unknown:
        # A name that is no plain word may be a piece of something else: not for printing.
        shown = [name if _PLAIN.fullmatch(name) else "(not a plain word)" for name in unknown]
        notes.warn(f"unknown parameters are ignored, as by Prisma: {', '.join(shown)}")


def _warn_pooler(conninfo: Mapping[str, str], notes: Notes, *, pgbouncer: bool) -> None:
    if pgbouncer or "-pooler." in conninfo["host"] or conninfo["port"] in {"6432", "6543"}:
        notes.warn(
            "looks like a connection pooler; migrations and their lock need a session of their"
            " own: give the database's direct URL in DIRECT_URL"
        )
