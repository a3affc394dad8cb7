-- Why the group roles $1 must not be given to sessions: one row per problem. Followed through all
-- memberships, also those that do not inherit.
WITH RECURSIVE reach AS (
    SELECT r.rolname AS name, r.oid AS role FROM pg_roles AS r WHERE r.rolname = ANY ($1)
    UNION
    SELECT reach.name, m.roleid FROM reach JOIN pg_auth_members AS m ON m.member = reach.role
),
server AS (SELECT current_setting('server_version_num')::int AS version)
SELECT format('group role %I does not exist', wanted.name)
FROM unnest($1) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted.name)
UNION
SELECT format('the administrator lacks the ADMIN OPTION on %I', name)
FROM reach, server
WHERE server.version >= 160000
  AND role = (SELECT oid FROM pg_roles WHERE rolname = name)
  AND NOT pg_has_role(role, 'MEMBER WITH ADMIN OPTION')
UNION
SELECT format('group role %I is unsafe: through %I it %s', reach.name, r.rolname, found.problem)
FROM reach
JOIN pg_roles AS r ON r.oid = reach.role,
LATERAL (
    VALUES
        (r.rolsuper, 'is a superuser'),
        (r.rolcreaterole, 'may create roles'),
        (r.rolcreatedb, 'may create databases'),
        (r.rolreplication, 'may replicate'),
        (r.rolbypassrls, 'bypasses row security'),
        (r.rolcanlogin, 'may log in'),
        (starts_with(r.rolname, 'pg_'), 'has the powers of a predefined role'),
        (r.rolname IN (current_user, 'procura_left'), 'has the broker''s own powers'),
        (EXISTS (SELECT FROM pg_shdepend AS s
                 WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid AND s.deptype = 'o'),
         'owns tables or other objects'),
        (EXISTS (SELECT FROM pg_auth_members AS m WHERE m.member = r.oid AND m.admin_option),
         'may grant a role to others')
) AS found (is_so, problem)
WHERE found.is_so
UNION
-- Before 16 a session may SET ROLE to its group, and what it makes then is not found by its own name.
SELECT format('group role %I is unsafe before PostgreSQL 16: it may create schemas in database %I', reach.name, d.datname)
FROM reach, server, pg_database AS d
WHERE server.version < 160000 AND has_database_privilege(reach.role, d.oid, 'CREATE')
UNION
SELECT 'max_prepared_transactions must be 0 before PostgreSQL 16'
FROM server
WHERE server.version < 160000 AND current_setting('max_prepared_transactions')::int > 0
ORDER BY 1
