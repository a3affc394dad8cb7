-- The same for what stands in one database, run in each: rights of PUBLIC count too.
WITH RECURSIVE reach AS (
    SELECT r.rolname AS name, r.oid AS role FROM pg_roles AS r WHERE r.rolname = ANY ($1)
    UNION
    SELECT reach.name, m.roleid FROM reach JOIN pg_auth_members AS m ON m.member = reach.role
)
SELECT format('group role %I is unsafe: it %s %s in database %I',
              reach.name, found.problem, c.oid::regclass, current_database())
FROM reach, pg_class AS c,
LATERAL (
    VALUES
        (has_table_privilege(reach.role, c.oid, 'TRIGGER'), 'may create triggers on'),
        (has_table_privilege(reach.role, c.oid,
                             'SELECT WITH GRANT OPTION, INSERT WITH GRANT OPTION, UPDATE WITH GRANT OPTION, '
                             'DELETE WITH GRANT OPTION, TRUNCATE WITH GRANT OPTION, REFERENCES WITH GRANT OPTION'),
         'may grant rights to others on'),
        (c.oid = to_regclass('procura.session')
         AND has_table_privilege(reach.role, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES'),
         'may touch')
) AS found (is_so, problem)
WHERE c.relkind IN ('r', 'p', 'v', 'f') AND c.relpersistence <> 't' AND found.is_so
UNION
SELECT format('group role %I is unsafe before PostgreSQL 16: it may create objects in schema %I of database %I',
              reach.name, n.nspname, current_database())
FROM reach, pg_namespace AS n
WHERE current_setting('server_version_num')::int < 160000
  AND n.nspname !~ '^pg_(toast_)?temp_'
  AND has_schema_privilege(reach.role, n.oid, 'CREATE')
ORDER BY 1
LIMIT 20
