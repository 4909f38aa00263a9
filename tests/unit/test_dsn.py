"""Prisma's connection URLs: what libpq is told, what a person is told, what nobody is told."""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sidecar.dsn import Target, at_address, parse, secrets
from sidecar.errors import ConfigError, ExitCode

URL = "postgresql://ada:s3cret@db:5433/shop"
DEFAULTS = {
    "application_name": "migration-sidecar",
    "channel_binding": "prefer",
    "connect_timeout": "5",
    "sslmode": "prefer",
}
PLAIN = DEFAULTS | {
    "host": "db",
    "port": "5433",
    "user": "ada",
    "password": "s3cret",
    "dbname": "shop",
}


def target(url: str = URL) -> Target:
    """What DATABASE_URL=url means."""
    return parse(url, variable="DATABASE_URL")


def mistakes(url: str) -> tuple[str, ...]:
    """What is wrong with DATABASE_URL=url."""
    with pytest.raises(ConfigError) as caught:
        target(url)
    return caught.value.mistakes


def added(query: str) -> dict[str, str]:
    """What a query adds to the keywords of the plain URL, or changes in them."""
    conninfo = target(f"{URL}?{query}").conninfo
    assert conninfo.keys() >= PLAIN.keys()
    return {name: value for name, value in conninfo.items() if PLAIN.get(name) != value}


def local_prisma(content: object, authority: str = "localhost:51213") -> str:
    """The URL that `prisma dev` prints, carrying `content`."""
    api_key = base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
    return f"prisma+postgres://{authority}/?api_key={api_key}"


# --- the parts of a URL ------------------------------------------------------------


def test_a_plain_url_becomes_libpqs_keywords_with_prismas_defaults() -> None:
    """Nothing but what the URL says and Prisma's defaults reaches libpq."""
    assert target().conninfo == PLAIN


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("postgres://u:p@h:1/d", ("u", "p", "h", 1, "d"), id="short scheme"),
        pytest.param("PostgreSQL://u:p@h:1/d", ("u", "p", "h", 1, "d"), id="scheme in any case"),
        pytest.param("postgresql://u:p@h/d", ("u", "p", "h", 5432, "d"), id="default port"),
        pytest.param("postgresql://u:p@h:/d", ("u", "p", "h", 5432, "d"), id="empty port"),
        pytest.param("postgresql://u:p@h:05433/d", ("u", "p", "h", 5433, "d"), id="leading zero"),
        pytest.param("postgresql://u:p@h", ("u", "p", "h", 5432, "postgres"), id="no path"),
        pytest.param("postgresql://u:p@h/", ("u", "p", "h", 5432, "postgres"), id="empty path"),
        pytest.param("postgresql://u:p@h/d/e", ("u", "p", "h", 5432, "d"), id="first segment"),
        pytest.param("postgresql://u:p@h/d#frag", ("u", "p", "h", 5432, "d"), id="fragment"),
        pytest.param("postgresql:///d", ("", None, "localhost", 5432, "d"), id="no authority"),
        pytest.param("postgresql://u@/d", ("u", None, "localhost", 5432, "d"), id="no host"),
        pytest.param("postgresql://u:@h/d", ("u", None, "h", 5432, "d"), id="empty password"),
        pytest.param("postgresql://u:p@[::1]:1/d", ("u", "p", "::1", 1, "d"), id="IPv6"),
        pytest.param(
            "postgresql://u:p@[fe80::2]/d", ("u", "p", "fe80::2", 5432, "d"), id="no port"
        ),
        pytest.param("postgresql://u:p@h/%E2%82%AC", ("u", "p", "h", 5432, "€"), id="database"),
        pytest.param(
            "postgresql://a%40b:p%2F%3A@h/d", ("a@b", "p/:", "h", 5432, "d"), id="decoded"
        ),
        pytest.param(
            "postgresql://u:p@%2Frun%2Fpg/d", ("u", "p", "/run/pg", 5432, "d"), id="libpq"
        ),
        pytest.param(
            "postgresql://u:p@localhost/d?host=/cloudsql/x",
            ("u", "p", "/cloudsql/x", 5432, "d"),
            id="socket directory",
        ),
        pytest.param("postgresql:///d?host=h", ("", None, "h", 5432, "d"), id="host parameter"),
        pytest.param("postgresql://u@h:7/d?host=::1", ("u", None, "::1", 7, "d"), id="host wins"),
        pytest.param("postgresql://u@h/d?host=", ("u", None, "h", 5432, "d"), id="empty host="),
        pytest.param("postgresql://u@h/d?host=[::1]", ("u", None, "::1", 5432, "d"), id="brackets"),
    ],
)
def test_each_part_is_read_as_prisma_reads_it(
    url: str, expected: tuple[str, str | None, str, int, str]
) -> None:
    """Scheme, user, password, host, port and database mean what they mean to Prisma."""
    it = target(url)
    found = (it.user, it.conninfo.get("password"), it.host, it.port, it.database)
    assert found == expected


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("p@ss", "p@ss"),
        ("p:ss", "p:ss"),
        ("p[ss]", "p[ss]"),
        ("100%", "100%"),
        ("%zz", "%zz"),
        ("a+b", "a+b"),
        ("a b", "a b"),
        ("a=b&c;d'e\"f", "a=b&c;d'e\"f"),
        ("^{}|<>`\\", "^{}|<>`\\"),
        ("pässwörd", "pässwörd"),
        ("\u2100", "\u2100"),  # the standard library takes it for "a/c" and quotes the URL
        ("%FF", "%FF"),  # not UTF-8: Prisma takes it as it stands
        ("${not_filled}", "${not_filled}"),
    ],
)
def test_odd_characters_in_a_password_need_no_encoding_where_prisma_needs_none(
    written: str, meant: str
) -> None:
    """What Prisma accepts raw in a password is accepted, and decoded once."""
    assert target(f"postgresql://u:{written}@h/d").conninfo["password"] == meant


@pytest.mark.parametrize(
    "wrapped",
    [
        '"{}"',
        "'{}'",
        "{}\n",
        "\n {}\r\n",
        ' "{}" \n',
        '" {}\n"',
        "\ufeff{}",
    ],
)
def test_quotes_and_line_ends_left_by_files_are_no_part_of_the_url(wrapped: str) -> None:
    """A value from a .env file or a secret file works with its quotes and its line end."""
    assert target(wrapped.format(URL)).conninfo == PLAIN


def test_a_url_wrapped_over_lines_is_read_as_one() -> None:
    """Line ends and tabs inside are dropped, as URL parsers do."""
    assert target("postgresql://ada:s3cret@\r\n\tdb:5433/shop").conninfo == PLAIN


# --- parameters --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        # what a session is told
        ("application_name=my+app", {"application_name": "my app"}),
        ("application_name=", {}),
        ("connect_timeout=0", {"connect_timeout": "0"}),
        ("connect_timeout=30", {"connect_timeout": "30"}),
        ("connect_timeout=99999999999", {"connect_timeout": "2147483647"}),
        ("channel_binding=require", {"channel_binding": "require"}),
        ("channel_binding=disable", {"channel_binding": "disable"}),
        ("options=--cluster%3Dmy_cluster", {"options": "--cluster=my_cluster"}),
        ("schema=momentum", {"options": '-c search_path="momentum"'}),
        ("schema=My+Schema", {"options": r'-c search_path="My\ Schema"'}),
        ("schema=a%22b%5Cc", {"options": r'-c search_path="a""b\\c"'}),
        (
            "schema=x&options=-c%20search_path%3Dy%20-cwork_mem%3D5MB",
            {"options": '-c search_path=y -cwork_mem=5MB -c search_path="x"'},
        ),
        # of Prisma's pool: no concern of a repair
        ("connection_limit=1&pool_timeout=0&statement_cache_size=0", {}),
        ("socket_timeout=3&max_connection_lifetime=1&max_idle_connection_lifetime=1", {}),
        ("pgbouncer=false", {}),
        # repeated: the last one counts
        ("connect_timeout=9&connect_timeout=7", {"connect_timeout": "7"}),
        # TLS
        ("sslmode=disable", {"sslmode": "disable"}),
        ("sslmode=prefer", {}),
        ("sslmode=require", {"sslmode": "require"}),
        ("sslmode=verify-ca", {"sslmode": "verify-ca"}),
        ("sslmode=verify-full", {"sslmode": "verify-full"}),
        ("sslmode=no-verify", {"sslmode": "require"}),
        ("sslaccept=accept_invalid_certs", {}),
        ("sslaccept=strict", {"sslmode": "verify-full", "sslrootcert": "system"}),
        ("sslaccept=Strict", {"sslmode": "verify-full", "sslrootcert": "system"}),
        ("sslmode=require&sslaccept=strict", {"sslmode": "verify-full", "sslrootcert": "system"}),
        ("sslmode=disable&sslaccept=strict&sslcert=/ca.pem", {"sslmode": "disable"}),
        (
            "sslaccept=strict&sslcert=/ca.pem",
            {"sslmode": "verify-full", "sslrootcert": "/ca.pem"},
        ),
        ("sslmode=require&sslcert=/ca.pem", {"sslmode": "require", "sslrootcert": "/ca.pem"}),
        ("sslcert=/ca.pem", {"sslmode": "require", "sslrootcert": "/ca.pem"}),
        ("sslmode=prefer&sslcert=/ca.pem", {"sslmode": "require", "sslrootcert": "/ca.pem"}),
        ("sslrootcert=system", {"sslmode": "verify-full", "sslrootcert": "system"}),
        (
            "sslmode=verify-full&sslrootcert=/ca.pem&sslcert=/me.crt&sslkey=/me.key",
            {
                "sslmode": "verify-full",
                "sslrootcert": "/ca.pem",
                "sslcert": "/me.crt",
                "sslkey": "/me.key",
            },
        ),
        (
            "sslcert=/ca.pem&sslidentity=/i.p12&sslpassword=pk&sslclientcert=/me.crt&sslkey=/me.key",
            {
                "sslmode": "require",
                "sslrootcert": "/ca.pem",
                "sslcert": "/me.crt",
                "sslkey": "/me.key",
                "sslpassword": "pk",
            },
        ),
    ],
)
def test_each_parameter_reaches_libpq_in_its_own_words(
    query: str, expected: dict[str, str]
) -> None:
    """Prisma's parameters are translated, and libpq accepts what comes out."""
    assert added(query) == expected
    conninfo = dict(target(f"{URL}?{query}").conninfo)
    assert conninfo_to_dict(make_conninfo(**conninfo)) == conninfo


@pytest.mark.parametrize(
    ("query", "warned"),
    [
        ("foo=1&target_session_attrs=any", "ignored, as by Prisma: foo, target_session_attrs"),
        ("a%20secret=1", "ignored, as by Prisma: (not a plain word)"),
        ("connect_timeout=9&connect_timeout=7", "more than once"),
        ("sslmode=yes", "sslmode is unknown and read as prefer"),
        ("sslmode=", "sslmode is unknown and read as prefer"),
        ("channel_binding=x", "channel_binding is unknown and read as prefer"),
        ("sslmode=verify-full", "~/.postgresql/root.crt"),
        ("sslmode=require&sslcert=ca.pem", "path is relative"),
        ("pgbouncer=true", "direct URL in DIRECT_URL"),
        ("host=ep-x-pooler.eu.neon.tech", "direct URL in DIRECT_URL"),
    ],
)
def test_what_prisma_understands_otherwise_is_said(query: str, warned: str) -> None:
    """One warning, which names the variable, tells what was dropped or read differently."""
    (warning,) = target(f"{URL}?{query}").warnings
    assert warning.startswith("DATABASE_URL: ")
    assert warned in warning


@pytest.mark.parametrize("port", [6432, 6543])
def test_the_usual_ports_of_poolers_are_recognised(port: int) -> None:
    """A transaction pooler is suspected by its port, and the direct URL asked for."""
    assert "DIRECT_URL" in "".join(target(f"postgresql://u:p@h:{port}/d").warnings)


@pytest.mark.parametrize(
    "query", ["schema=x&sslmode=require&connection_limit=5", "sslaccept=strict&sslcert=/ca.pem"]
)
def test_a_usual_url_brings_no_warnings(query: str) -> None:
    """Warnings are for what a person should look at."""
    assert target(f"{URL}?{query}").warnings == ()


def test_the_schema_is_prismas_or_unset() -> None:
    """Without `?schema=` the server's own search_path holds, as with Prisma."""
    assert (target().schema, target().search_path) == (None, None)
    it = target(f'{URL}?schema=a"b')
    assert (it.schema, it.search_path) == ('a"b', '"a""b"')


def test_a_probe_through_pgbouncer_sends_no_startup_options() -> None:
    """Waiting works through a pooler, which refuses them; a repair never lacks its search_path."""
    pooled = target(f"{URL}?schema=x&pgbouncer=true")
    assert "options" in pooled.conninfo
    assert "options" not in pooled.probe_conninfo
    direct = target(f"{URL}?schema=x")
    assert direct.probe_conninfo == direct.conninfo


# --- refusals ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "postgresql://USER:PASSWORD@HOST:5432/DATABASE"),
        ("''", "postgresql://USER:PASSWORD@HOST:5432/DATABASE"),
        ("s3cret", "postgresql://USER:PASSWORD@HOST:5432/DATABASE"),
        ("mysql://u:s3cret@h/d", "postgresql://USER:PASSWORD@HOST:5432/DATABASE"),
        ("postgresql:u:s3cret@h/d", "postgresql://USER:PASSWORD@HOST:5432/DATABASE"),
        ("prisma://accelerate.prisma-data.net/?api_key=s3cret", "in DIRECT_URL"),
        ("prisma+postgres://accelerate.prisma-data.net/?api_key=s3cret", "in DIRECT_URL"),
        ("prisma+postgres://localhost.evil.org/?api_key=s3cret", "in DIRECT_URL"),
        ("prisma+postgres://localhost:51213/?api_key=s3cret", "holds no databaseUrl"),
        ("prisma+postgres://localhost:51213/", "holds no databaseUrl"),
        (local_prisma(["s3cret"]), "holds no databaseUrl"),
        (local_prisma({"databaseUrl": 7}), "holds no databaseUrl"),
        (local_prisma({"databaseUrl": "mysql://u:s3cret@h/d"}), "holds no databaseUrl"),
        ("postgresql://u:p@h:s3cret/d", "port is not a number"),
        ("postgresql://u:p@h:0/d", "port is not a number"),
        ("postgresql://u:p@h:65536/d", "port is not a number"),
        ("postgresql://u:p@h:-1/d", "port is not a number"),
        ("postgresql://u:p@h:٣/d", "port is not a number"),
        ("postgresql://u:p@2001:db8::1/d", "port is not a number"),
        ("postgresql://u:p@[]/d", "host is no name"),
        ("postgresql://u:p@${DB_HOST}/d", "${...}"),
        ("postgresql://u:p@h/d?host=$DB_HOST", "${...}"),
        ("postgresql://u:p@h h/d", "host is no name"),
        ("postgresql://u:p@a,b/d", "several hosts"),
        ("postgresql://u:p@a:1,b:2/d", "several hosts"),
        ("postgresql://u:p@a%2Cb/d", "several hosts"),
        ("postgresql://u:p@h/d?host=/a,/b", "several hosts"),
        ("postgresql://u:53/cret@h/d", "has an @ after the first / ? or #"),
        ("postgresql://u:53?cret@h/d", "has an @ after the first / ? or #"),
        ("postgresql://u:53#cret@h/d", "# as %23, elsewhere write @ as %40"),
        ("postgresql://u:p@h/d?application_name=a@b", "elsewhere write @ as %40"),
        ("postgresql://u:p@s3?cret=1@h/d", "%3F"),
        ("postgresql://u:p%00@h/d", "zero byte"),
        ("postgresql://u:p@h/d?schema=%00", "zero byte"),
        ("postgresql://u:p\udcff@h/d", "not valid UTF-8"),
        (local_prisma({"databaseUrl": "postgres://u:\ud800@h/d"}), "not valid UTF-8"),
        (f"{URL}?schema=", "schema= is empty"),
        (f"{URL}?connect_timeout=s3cret", "whole number of seconds"),
        (f"{URL}?connect_timeout=-1", "whole number of seconds"),
        (f"{URL}?connect_timeout=1.5", "whole number of seconds"),
        (f"{URL}?pgbouncer=1", "neither true nor false"),
        (f"{URL}?sslmode=require&sslrootcert=system", "needs sslmode=verify-full"),
        (f"{URL}?sslidentity=/me.p12&sslpassword=s3cret", "sslclientcert="),
    ],
)
def test_what_cannot_work_is_refused_with_the_next_step(url: str, said: str) -> None:
    """One mistake, which names the variable and says what to write instead."""
    (mistake,) = mistakes(url)
    assert mistake.startswith("DATABASE_URL: ")
    assert said in mistake


def test_all_mistakes_are_told_at_once() -> None:
    """Nobody restarts a container once for each typing error; the exit code is 2."""
    url = "postgresql://u:p@$H:x/d?schema=&connect_timeout=x&pgbouncer=x&sslidentity=x"
    with pytest.raises(ConfigError) as caught:
        parse(url, variable="DIRECT_URL")
    assert len(caught.value.mistakes) == 6
    assert all(mistake.startswith("DIRECT_URL: ") for mistake in caught.value.mistakes)
    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize("authority", ["localhost:51213", "127.0.0.1:1", "[::1]:1", "LOCALHOST"])
def test_the_url_of_prisma_dev_is_unwrapped(authority: str) -> None:
    """A local prisma+postgres:// URL carries a URL that can be used."""
    inner = {"databaseUrl": f"{URL}?schema=x", "shadowDatabaseUrl": "postgres://elsewhere/x"}
    it = target(local_prisma(inner, authority))
    assert (it.host, it.port, it.database, it.schema) == ("db", 5433, "shop", "x")


@given(st.text())
@example("postgresql://[")
@example("prisma+postgres://localhost/?api_key=é")
def test_any_text_is_understood_or_refused(text: str) -> None:
    """Whatever the variable holds, it ends in a target or in mistakes, never in a bug."""
    for url in (text, f"postgresql://{text}", f"postgres://u:p@h/d?{text}"):
        try:
            conninfo = dict(target(url).conninfo)
        except ConfigError:
            continue
        assert conninfo_to_dict(make_conninfo(**conninfo)) == conninfo


# --- round trips -------------------------------------------------------------------

CHARACTER = st.characters(codec="utf-8", exclude_characters="\0")
TEXT = st.text(CHARACTER, min_size=1)
SOCKET = TEXT.filter(lambda text: "," not in text).map(lambda text: f"/{text}")
HOST = st.one_of(
    st.ip_addresses().map(str), st.from_regex(r"[a-z][a-z0-9.-]{0,20}", fullmatch=True), SOCKET
)


def split_options(options: str) -> list[str]:
    """The words a server makes of startup options (PostgreSQL, postinit.c, `pg_split_opts`)."""
    words = re.findall(r"(?:\\.|[^\\\s])+", options, re.DOTALL)
    return [re.sub(r"\\(.)", r"\1", word, flags=re.DOTALL) for word in words]


@given(user=TEXT, password=TEXT, database=TEXT, schema=TEXT)
def test_percent_encoded_text_comes_back_exactly(
    user: str, password: str, database: str, schema: str
) -> None:
    """Any role, password, database and schema can be written, and arrives unchanged."""
    userinfo, path = f"{quote(user, safe='')}:{quote(password, safe='')}", quote(database, safe="")
    it = target(f"postgresql://{userinfo}@h/{path}?schema={quote_plus(schema)}")
    found = conninfo_to_dict(make_conninfo(**dict(it.conninfo)))
    assert (found["user"], found["password"]) == (user, password)
    assert (found["dbname"], it.schema) == (database, schema)
    doubled = schema.replace('"', '""')
    assert split_options(str(found["options"])) == ["-c", f'search_path="{doubled}"']


@given(
    user=TEXT | st.just(""),
    host=HOST,
    port=st.integers(1, 65535),
    database=TEXT,
    schema=TEXT | st.none(),
)
def test_the_displayed_url_leads_to_the_same_place(
    user: str, host: str, port: int, database: str, schema: str | None
) -> None:
    """What is printed for people can be copied: only secrets and transport are missing."""
    query = f"host={quote(host, safe='')}" + (f"&schema={quote(schema)}" if schema else "")
    path = quote(database, safe="")
    it = target(f"postgresql://{quote(user, safe='')}:hidden@x:{port}/{path}?{query}")
    again = target(it.display)
    assert (again.user, again.host, again.port) == (user, host, port) == (it.user, it.host, it.port)
    assert (again.database, again.schema) == (database, schema)
    assert again.display == it.display


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"{URL}?schema=momentum&sslmode=require", "postgresql://ada@db:5433/shop?schema=momentum"),
        ("postgresql://u:p@[::1]/d", "postgresql://u@[::1]:5432/d"),
        ("postgresql:///d?host=/run/pg", "postgresql://:5432/d?host=/run/pg"),
    ],
)
def test_a_target_is_shown_as_a_short_url(url: str, shown: str) -> None:
    """The displayed form is what an operator would write, without the password."""
    assert target(url).display == shown


def test_the_same_database_at_another_address() -> None:
    """Only the way there changes, pinned where the name could mean two; people are told."""
    it = target(f"{URL}?schema=x&foo=1")
    moved = at_address(it, "localhost", 5434, "127.0.0.1", says="it moved")
    where = {"host": "localhost", "port": "5434", "hostaddr": "127.0.0.1"}
    assert moved.conninfo == {**it.conninfo, **where}
    assert moved.warnings == (*it.warnings, "it moved")
    assert "hostaddr" not in at_address(it, "engine.lan", 5434, "", says="").conninfo
    assert (it.host, it.port) == ("db", 5433)


# --- secrets -----------------------------------------------------------------------

SECRET = st.text(CHARACTER, min_size=2).map(lambda text: f"Zq9{text}")
BROKEN = ("{0}@h:{1}/d", "{0}@{1} x/d", "{0}@h/d?connect_timeout={1}", "{0}@h/d?pgbouncer={1}")


@given(password=SECRET, key=SECRET)
def test_no_secret_is_ever_shown(password: str, key: str) -> None:
    """The password and the key's password are in no text that could be printed."""
    userinfo = f"u:{quote(password, safe='')}"
    it = target(
        f"postgresql://{userinfo}@h/d?sslpassword={quote_plus(key)}&sslkey=/k&foo={quote_plus(key)}"
    )
    hidden = secrets(it)
    assert {password, key, quote(password, safe=""), quote(key, safe="")} <= {*hidden}
    shown = " ".join((repr(it), str(it), it.display, *it.warnings))
    assert [spelling for spelling in hidden if spelling in shown] == []


@given(secret=SECRET, template=st.sampled_from(BROKEN), raw=st.booleans())
def test_no_mistake_quotes_the_url(secret: str, template: str, *, raw: bool) -> None:
    """A refused URL appears in no error, wherever in it the secret had slipped."""
    written = secret.replace("@", "") if raw else quote(secret, safe="")
    with pytest.raises(ConfigError) as caught:
        target("postgresql://" + template.format(f"u:{written}", written))
    shown = " ".join((str(caught.value), repr(caught.value), *caught.value.next_steps))
    assert written not in shown
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize("delimiter", ["/", "?", "#"])
@given(secret=SECRET, rest=TEXT)
def test_half_a_password_is_not_taken_for_something_printable(
    delimiter: str, secret: str, rest: str
) -> None:
    """A raw / ? or # in a password is refused; its halves become no host, port or parameter."""
    head, tail = (quote(part, safe="+&=") for part in (secret, rest))
    with pytest.raises(ConfigError) as caught:
        target(f"postgresql://u:{head}{delimiter}{tail}@h/d")
    assert secret not in str(caught.value)


def test_every_spelling_of_a_secret_is_known() -> None:
    """Raw, as in a URL and as in a form: whichever appears somewhere can be found."""
    hidden = secrets(target("postgresql://u:a%2Fb%20c@h/d?sslkey=/k&sslpassword=plain"))
    assert hidden == ("a/b c", "a/b%20c", "a%2Fb%20c", "a%2Fb+c", "plain")


def test_a_target_without_secrets_has_none() -> None:
    """No password, nothing to mask: an empty string would mask everything."""
    assert secrets(target("postgresql://u@h/d")) == ()


def test_the_keywords_cannot_be_changed() -> None:
    """A target is a value: nobody changes where somebody else connects."""
    with pytest.raises(TypeError):
        target().conninfo["host"] = "elsewhere"  # type: ignore[index]
