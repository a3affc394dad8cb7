-- What the administrator or the database lacks: one row per problem.
WITH us AS (SELECT * FROM pg_roles WHERE rolname = current_user),
     ours AS (
         SELECT to_regclass('procura.session')          AS session,
                to_regprocedure('procura.claim(text)')  AS claim,
                (SELECT oid FROM pg_roles WHERE rolname = 'procura_left') AS keeper,
                current_setting('server_version_num')::int AS version
     )
SELECT found.problem
FROM us, ours, LATERAL (
    VALUES
        (us.rolsuper, 'the administrator is a superuser: give the broker a role with CREATEROLE instead'),
        (NOT us.rolcreaterole, 'the administrator lacks CREATEROLE'),
        (NOT us.rolinherit, 'the administrator is NOINHERIT: ALTER ROLE … INHERIT'),
        (ours.version < 150000, 'the server is older than PostgreSQL 15'),
        (ours.session IS NULL OR ours.claim IS NULL OR ours.keeper IS NULL,
         'schema procura or role procura_left is missing: run setup.sql in the target''s database'),
        (NOT has_table_privilege(ours.session, 'SELECT')
         OR NOT has_table_privilege(ours.session, 'INSERT')
         OR NOT has_table_privilege(ours.session, 'DELETE'),
         'the administrator lacks SELECT, INSERT or DELETE on procura.session: run setup.sql'),
        (NOT pg_has_role(ours.keeper, 'USAGE')
         OR NOT pg_has_role(ours.keeper, CASE WHEN ours.version >= 160000 THEN 'SET' ELSE 'MEMBER' END),
         'the administrator is no member of procura_left: run setup.sql'),
        ((SELECT rolcanlogin OR rolsuper OR rolcreaterole OR rolbypassrls FROM pg_roles WHERE oid = ours.keeper),
         'role procura_left has attributes: it must be NOLOGIN and nothing else'),
        ((SELECT NOT prosecdef OR NOT coalesce(proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false)
          FROM pg_proc WHERE oid = ours.claim),
         'procura.claim is not the function of setup.sql: run it again'),
        (EXISTS (SELECT FROM pg_class WHERE oid = ours.session AND relowner = us.oid)
         OR EXISTS (SELECT FROM pg_proc WHERE oid = ours.claim AND proowner = us.oid)
         OR EXISTS (SELECT FROM pg_namespace WHERE nspname = 'procura' AND nspowner = us.oid),
         'the administrator owns schema procura or what is in it: run setup.sql as the owner of the database')
) AS found (is_so, problem)
WHERE found.is_so
UNION ALL
SELECT format('the administrator lacks CONNECT on database %I', datname)
FROM pg_database
WHERE datallowconn AND NOT has_database_privilege(oid, 'CONNECT')
