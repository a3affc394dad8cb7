-- What Procura needs in a database that it makes log-in roles for. Run it once, and again after an
-- upgrade, as the owner of the database (who may create roles, or for whom a DBA has made
-- procura_left and granted it WITH ADMIN OPTION). First name the broker's role in the same session:
--
--   psql -d app -c "SET procura.administrator = 'procura_admin'" -f setup.sql
--
-- That role exists already and is no superuser: CREATE ROLE procura_admin LOGIN CREATEROLE PASSWORD …
-- (or NOLOGIN, with two log-in roles that take turns; see docs/targets/postgres.md)
BEGIN;

-- Objects that everybody may see and nobody but the owner may change.
CREATE SCHEMA IF NOT EXISTS procura;
REVOKE ALL ON SCHEMA procura FROM PUBLIC;
GRANT USAGE ON SCHEMA procura TO PUBLIC;

-- One row per live log-in role: whom it was made for. Written in the transaction that makes the role,
-- deleted in the one that drops it.
CREATE TABLE IF NOT EXISTS procura.session (
    role         name        NOT NULL PRIMARY KEY, -- the log-in role, equal to the broker's handle
    issuance     uuid        NOT NULL,             -- id of the record in the issuance log
    session      uuid        NOT NULL,             -- id of the broker's session
    subject      text        NOT NULL,             -- qualified id: corp/alice
    subject_kind text        NOT NULL CHECK (subject_kind IN ('user', 'agent')),
    actor        text,                             -- qualified id of the agent; NULL where the server itself acts
    server       text        NOT NULL,             -- name of the MCP server
    grants       text[]      NOT NULL,             -- names of the grants
    params       jsonb       NOT NULL,             -- parameters that narrow them
    until        timestamptz NOT NULL              -- end of the credential
);
REVOKE ALL ON TABLE procura.session FROM PUBLIC;

-- A claim about the log-in role of this connection: 'subject', 'subject_kind', 'actor', 'server',
-- 'session', 'issuance', or 'param:NAME' (a set as JSON text). NULL for every other role and after the
-- credential's end. Nothing that a session can set has a part in it: session_user stays the log-in role.
CREATE OR REPLACE FUNCTION procura.claim(what text) RETURNS text
    LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    RETURN (
        SELECT CASE
                   WHEN what = 'subject'      THEN s.subject
                   WHEN what = 'subject_kind' THEN s.subject_kind
                   WHEN what = 'actor'        THEN s.actor
                   WHEN what = 'server'       THEN s.server
                   WHEN what = 'session'      THEN s.session::text
                   WHEN what = 'issuance'     THEN s.issuance::text
                   WHEN pg_catalog.starts_with(what, 'param:') THEN s.params ->> pg_catalog.substr(what, 7)
               END
        FROM procura.session AS s
        WHERE s.role = session_user AND s.until > pg_catalog.clock_timestamp()
    );
REVOKE ALL ON FUNCTION procura.claim(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION procura.claim(text) TO PUBLIC;

-- Gives one of the broker's two log-in roles a new password, or with NULL none: `procura rotate`. Called by the other one;
-- both are members of one role that may write procura.session. A function, since on 16 and newer that role cannot have the
-- ADMIN OPTION on its own members: whoever runs this file has it (before 16: CREATEROLE).
CREATE OR REPLACE FUNCTION procura.set_login(login name, verifier text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF verifier !~ '^SCRAM-SHA-256\$[0-9]+:[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+$' THEN
        RAISE EXCEPTION 'what was given for % is no SCRAM-SHA-256 verifier', login USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF login = session_user OR NOT EXISTS (
        SELECT FROM pg_roles AS it
        JOIN pg_auth_members AS its ON its.member = it.oid
        JOIN pg_auth_members AS ours ON ours.roleid = its.roleid
        JOIN pg_roles AS us ON us.oid = ours.member
        WHERE it.rolname = login AND it.rolcanlogin AND us.rolname = session_user
          -- Whoever made the broker's role is its member too, and may more than it.
          AND it.rolname <> current_user AND NOT its.admin_option AND NOT ours.admin_option
          AND NOT (it.rolsuper OR it.rolcreaterole OR it.rolcreatedb OR it.rolreplication OR it.rolbypassrls)
          AND has_table_privilege(its.roleid, 'procura.session', 'INSERT')
    ) THEN
        RAISE EXCEPTION 'role % is not the other log-in of the broker''s role', login USING ERRCODE = 'insufficient_privilege';
    END IF;
    EXECUTE format('ALTER ROLE %I PASSWORD %L', login, verifier);
END
$$;
REVOKE ALL ON FUNCTION procura.set_login(name, text) FROM PUBLIC;

-- procura_left gets the tables that sessions leave behind; the administrator gets what the broker needs.
DO $$
DECLARE
    administrator name := current_setting('procura.administrator');
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'procura_left') THEN
        CREATE ROLE procura_left NOLOGIN;
    END IF;
    IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = administrator) THEN
        RAISE EXCEPTION 'role % is a superuser; give the broker a role of its own with CREATEROLE', administrator;
    END IF;
    EXECUTE format('GRANT procura_left TO %I', administrator);
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), administrator);
    EXECUTE format('GRANT SELECT, INSERT, DELETE ON TABLE procura.session TO %I', administrator);
    EXECUTE format('GRANT EXECUTE ON FUNCTION procura.set_login(name, text) TO %I', administrator);
END
$$;

COMMIT;
