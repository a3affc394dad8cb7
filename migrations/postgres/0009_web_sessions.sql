-- Log-ins at the web page. A version that does not know this table serves no page.
CREATE TABLE web_session (
    id        bytea  NOT NULL PRIMARY KEY, -- SHA-256 of the cookie's value, which stands nowhere
    person    text   NOT NULL,             -- qualified id of who logged in
    who       text   NOT NULL,             -- what their issuer said of them, JSON
    opened    bigint NOT NULL,             -- when they logged in
    last_used bigint NOT NULL,             -- last request, to the minute
    ends      bigint NOT NULL              -- when it ends at the latest
);

CREATE INDEX web_session_person ON web_session (person, opened);
CREATE INDEX web_session_ends   ON web_session (ends);
