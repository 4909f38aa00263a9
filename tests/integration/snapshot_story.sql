-- Told by test_snapshot.py: one statement a line, each in its own transaction; {role} is a role.
CREATE SCHEMA app
CREATE TYPE app."Status" AS ENUM ('NEW', 'DONE')
CREATE DOMAIN app.positive AS int CHECK (VALUE > 0)
CREATE TABLE app.user (id serial PRIMARY KEY, email text UNIQUE, boss int REFERENCES app.user)
CREATE TABLE app.post (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, author int, s app."Status" DEFAULT 'NEW', n app.positive, list app."Status"[])
ALTER TABLE app.post ADD FOREIGN KEY (author) REFERENCES app.user (id)
CREATE INDEX post_s ON app.post (s, lower(n::text))
CREATE VIEW app.v AS SELECT p.id, u.email, p.s FROM app.post p JOIN app.user u ON u.id = p.author WHERE p.s = 'NEW'
CREATE VIEW app.v2 AS SELECT * FROM app.v JOIN app.post USING (id, s)
CREATE FUNCTION app.f(a app."Status"[], b app.user, c app.positive) RETURNS SETOF app.post LANGUAGE sql AS 'SELECT NULL::app.post'
CREATE FUNCTION app.audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'
CREATE TRIGGER audit AFTER INSERT ON app.post FOR EACH ROW WHEN (NEW.s = 'NEW') EXECUTE FUNCTION app.audit()
CREATE POLICY own ON app.post USING (author IN (SELECT id FROM app.user WHERE email = current_user))
CREATE RULE keep AS ON DELETE TO app.user DO ALSO INSERT INTO app.post (author) VALUES (old.id)
CREATE MATERIALIZED VIEW app.mv AS SELECT count(*) AS n FROM app.v
CREATE STATISTICS app.st ON author, s FROM app.post
ALTER TYPE app."Status" RENAME VALUE 'NEW' TO 'FRESH'
ALTER TYPE app."Status" RENAME TO "State"
ALTER TYPE app.positive RENAME TO positive2
ALTER TABLE app.user RENAME TO person
ALTER TABLE app.person RENAME email TO mail
ALTER TABLE app.post RENAME author TO writer
ALTER TABLE app.post RENAME CONSTRAINT post_pkey TO post_pk
ALTER INDEX app.post_s RENAME TO post_s2
ALTER SEQUENCE app.user_id_seq RENAME TO person_id_seq
ALTER SEQUENCE app.post_id_seq RENAME TO post_number
ALTER FUNCTION app.audit RENAME TO audit2
ALTER VIEW app.v RENAME TO vv
ALTER VIEW app.vv RENAME COLUMN email TO address
ALTER TRIGGER audit ON app.post RENAME TO audit3
ALTER POLICY own ON app.post RENAME TO own2
ALTER RULE keep ON app.person RENAME TO keep2
ALTER STATISTICS app.st RENAME TO st2
ALTER TABLE app.person ADD COLUMN s int
ALTER TABLE app.person ALTER COLUMN mail SET NOT NULL, ADD COLUMN tags text[] DEFAULT '{{}}'
GRANT SELECT (id, s), UPDATE (s) ON app.post TO {role}
REVOKE SELECT (id) ON app.post FROM {role}
REVOKE ALL (id, s) ON app.post FROM {role}
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA app TO {role}
GRANT ALL ON ALL SEQUENCES IN SCHEMA app TO {role} WITH GRANT OPTION
GRANT USAGE ON SCHEMA app TO {role}
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA app FROM PUBLIC
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA app TO PUBLIC
REVOKE ALL ON ALL TABLES IN SCHEMA app FROM {role}
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO {role}
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC
ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC
ALTER DEFAULT PRIVILEGES IN SCHEMA app REVOKE SELECT ON TABLES FROM {role}
COMMENT ON COLUMN app.person.mail IS 'where to write'
COMMENT ON COLUMN app.person.mail IS NULL
COMMENT ON TRIGGER audit3 ON app.post IS 'x'
COMMENT ON TRIGGER audit3 ON app.post IS NULL
COMMENT ON CONSTRAINT positive_check ON DOMAIN app.positive2 IS 'x'
COMMENT ON CONSTRAINT positive_check ON DOMAIN app.positive2 IS NULL
COMMENT ON FUNCTION app.audit2() IS 'x'
COMMENT ON FUNCTION app.audit2() IS NULL
COMMENT ON SCHEMA app IS 'x'
COMMENT ON SCHEMA app IS NULL
COMMENT ON POLICY own2 ON app.post IS 'x'
COMMENT ON RULE keep2 ON app.person IS 'x'
ALTER DOMAIN app.positive2 ADD CONSTRAINT small CHECK (VALUE < 100)
ALTER DOMAIN app.positive2 RENAME CONSTRAINT small TO tiny
ALTER DOMAIN app.positive2 DROP CONSTRAINT tiny
ALTER DOMAIN app.positive2 SET DEFAULT 3
CREATE SCHEMA other
ALTER TABLE app.post SET SCHEMA other
ALTER TYPE app."State" SET SCHEMA other
ALTER SCHEMA app RENAME TO "App"
ALTER SCHEMA other RENAME TO app
ALTER FUNCTION "App".audit2 SET SCHEMA app
CREATE OR REPLACE FUNCTION app.audit2() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'
CREATE TABLE app.event (id int, at date NOT NULL, who int REFERENCES "App".person) PARTITION BY RANGE (at)
CREATE TABLE app.event_1 PARTITION OF app.event FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')
CREATE TABLE app.event_2 (at date NOT NULL, id int NOT NULL, who int)
CREATE INDEX event_id ON app.event (id)
ALTER TABLE app.event ADD PRIMARY KEY (id, at)
ALTER TABLE app.event ATTACH PARTITION app.event_2 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')
CREATE TRIGGER each AFTER INSERT ON app.event FOR EACH ROW EXECUTE FUNCTION app.audit2()
ALTER TABLE app.event_1 DISABLE TRIGGER each
CREATE TABLE app.note (id int, event_id int, event_at date, FOREIGN KEY (event_id, event_at) REFERENCES app.event)
ALTER TABLE app.event DETACH PARTITION app.event_1
ALTER TABLE app.event RENAME TO happening
ALTER TABLE app.happening RENAME COLUMN at TO day
ALTER TABLE app.happening ADD COLUMN extra int DEFAULT 5
ALTER INDEX app.event_id RENAME TO happening_id
DROP TRIGGER each ON app.happening
CREATE TABLE app.parent (a int, b text NOT NULL, CHECK (a > 0))
CREATE TABLE app.heir (c int) INHERITS (app.parent)
ALTER TABLE app.parent RENAME TO elder
ALTER TABLE app.elder RENAME a TO aa
ALTER TABLE app.heir ADD CONSTRAINT own CHECK (c > 0)
ALTER TABLE ONLY app.elder ALTER b DROP NOT NULL
ALTER TABLE app.heir NO INHERIT app.elder
CREATE PUBLICATION pub FOR TABLE app.elder, app.heir
ALTER TABLE app.heir RENAME TO scion
ALTER PUBLICATION pub RENAME TO pub2
ALTER PUBLICATION pub2 DROP TABLE app.scion
DROP TABLE app.elder
DROP PUBLICATION pub2
CREATE TYPE app.pair AS (x int, y text)
CREATE TABLE app.pairs (p app.pair, q app.pair[], CHECK ((p).x > 0))
CREATE VIEW app.pv AS SELECT (p).x AS px FROM app.pairs
ALTER TYPE app.pair RENAME ATTRIBUTE x TO left_x CASCADE
ALTER TYPE app.pair ADD ATTRIBUTE z int CASCADE
ALTER TYPE app.pair RENAME TO duo
CREATE TYPE app.span AS RANGE (SUBTYPE = int)
CREATE FUNCTION app.spans(app.span) RETURNS int LANGUAGE sql AS 'SELECT 1'
ALTER TYPE app.span RENAME TO extent
CREATE COLLATION app.coll FROM "C"
CREATE TABLE app.words (w text COLLATE app.coll)
CREATE INDEX words_w ON app.words (w COLLATE app.coll text_pattern_ops)
ALTER COLLATION app.coll RENAME TO coll2
CREATE OPERATOR app.=== (FUNCTION = int4eq, LEFTARG = int, RIGHTARG = int)
CREATE VIEW app.same AS SELECT 1 OPERATOR(app.===) 2 AS yes
ALTER OPERATOR app.=== (int, int) SET SCHEMA public
CREATE OPERATOR CLASS app.oc FOR TYPE int USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 btint4cmp(int, int)
CREATE INDEX pairs_i ON app.pairs (((p).left_x) app.oc)
ALTER OPERATOR CLASS app.oc USING btree RENAME TO oc2
CREATE AGGREGATE app.agg(int) (SFUNC = int4pl, STYPE = int)
CREATE VIEW app.sums AS SELECT app.agg(x) FROM generate_series(1, 3) x
ALTER AGGREGATE app.agg(int) RENAME TO total
CREATE TEXT SEARCH DICTIONARY app.dict (TEMPLATE = simple)
CREATE TEXT SEARCH CONFIGURATION app.conf (COPY = pg_catalog.simple)
ALTER TEXT SEARCH CONFIGURATION app.conf ALTER MAPPING FOR word WITH app.dict
ALTER TEXT SEARCH DICTIONARY app.dict RENAME TO dict2
CREATE INDEX words_ts ON app.words USING gin (to_tsvector('app.conf'::regconfig, w))
ALTER TEXT SEARCH CONFIGURATION app.conf RENAME TO conf2
ALTER FOREIGN DATA WRAPPER wrap RENAME TO wrapper
ALTER SERVER srv RENAME TO server2
CREATE FOREIGN TABLE app.far (a int) SERVER server2
CREATE USER MAPPING FOR {role} SERVER server2
ALTER SERVER server2 RENAME TO server3
DROP USER MAPPING FOR {role} SERVER server3
CREATE SEQUENCE app.counter OWNED BY app.words.w
ALTER TABLE app.words ADD n int DEFAULT nextval('app.counter')
ALTER SEQUENCE app.counter RENAME TO counter2
ALTER TABLE app.words RENAME w TO word
ALTER TABLE app.words ALTER n DROP DEFAULT, ALTER n TYPE bigint
CREATE EXTENSION citext SCHEMA app
CREATE TABLE app.ci (t app.citext DEFAULT 'x')
ALTER EXTENSION citext SET SCHEMA public
ALTER EXTENSION citext SET SCHEMA app
CREATE FUNCTION app.ciarr(app.citext[]) RETURNS int LANGUAGE sql AS 'SELECT 1'
ALTER EXTENSION citext SET SCHEMA public
DROP EXTENSION citext CASCADE
INSERT INTO app.words (word) VALUES ('a'), ('b')
CREATE TEMP TABLE scratch (a int)
CREATE TABLE app.made AS SELECT * FROM app.words
DO $$ BEGIN FOR i IN 1..3 LOOP EXECUTE format('CREATE TABLE app.loop_%s (a int)', i); END LOOP; END $$
DO $$ BEGIN DROP TABLE app.loop_1; CREATE TABLE app.loop_1 (b text); EXCEPTION WHEN OTHERS THEN NULL; END $$
DO $$ BEGIN CREATE TABLE app.undone (a int); RAISE 'no'; EXCEPTION WHEN OTHERS THEN NULL; END $$
DROP TABLE app.loop_2, app.loop_3
DROP FUNCTION app.audit2 CASCADE
DROP TYPE app.duo CASCADE
DROP DOMAIN "App".positive2 CASCADE
DROP VIEW "App".vv CASCADE
ALTER TABLE "App".person DROP COLUMN mail CASCADE
DROP TYPE app."State" CASCADE
DROP TABLE "App".person CASCADE
DROP OWNED BY {role}
ALTER SCHEMA public RENAME TO pub
ALTER SCHEMA pub RENAME TO public
REVOKE ALL ON SCHEMA public FROM PUBLIC
GRANT CREATE ON SCHEMA public TO {role}
DROP SCHEMA "App" CASCADE
DROP SCHEMA app CASCADE
