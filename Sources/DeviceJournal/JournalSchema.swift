import SQLiteStore

// The journal: one SQLite database, `journal.sqlite`, mode 0600 since it holds the token.
//
//     writer     one row: the replica, the counter that comes next, the least record number that
//                may, and the hash chain of all that it wrote
//     lineage    every replica that this journal ever was; `shared` is the last counter that the
//                successor has in common with it, NULL for the present one, and `chain` that of
//                all up to there
//     enrolment  one row once enrolled: how to reach the hub, and who we are there
//     pull       one row: where the newest complete pull ended and what it held, the pull under way
//     staging    the answers of the pull under way but for the last, as they came, and to which
//                requests, since answers leave out what those said, with a checksum
//     set_aside  the counters of commands that were damaged before they were decided, and the
//                chain below them
//     record     what the hub says, as of the last complete pull
//     outbox     own groups that the pulled state does not contain yet, in the order of writing,
//                each with the chain below it
//     refused    own groups that the hub refused, until the person retries or drops them
//     person     whose replica is whose
//     boot       in which boot of this machine which hub time was measured
//     seen       jobs that the person has been shown, by order
//     notice     a few things to tell in `status`
//     reached    where complete pulls ended, one row a term, for the day the hub is restored; after
//                one, only those on the line of the hub's terms, the last cut to that
//     recovery   one row while this journal brings back what the hub has lost
//     audit      one row: the sum of the digests of what is held, and how far rows were verified
//     suspect    records that are to be fetched again, since they differ from the hub's
//
// `writer` and `outbox` stand apart from everything large, so that a recorded need dirties two
// pages. Unsigned numbers of 64 bits are stored as the signed ones with the same bits.
enum JournalSchema {
    /// "WJnl".
    static let applicationID: Int32 = 0x574A_6E6C

    static var migrations: [Migration] {
        [
            Migration(version: 1, sql: version1),
            Migration(version: 2) { connection in
                try connection.execute(recoveryOfVersion2)
                try connection.execute(digestsOfVersion2)
                try JournalDigests.fillIn(connection)
            },
            Migration(version: 3) { connection in
                try connection.execute(
                    endsOfVersion3 + stagingOfVersion3 + setAsideOfVersion3 + chainsOfVersion3)
                try OutboxGroup.storeChains(connection)
            },
            Migration(version: 4, sql: recoveryOfVersion4),
            Migration(version: 5, sql: stagingOfVersion5),
        ]
    }

    /// Of an outbox row; any other waits.
    static let settled: Int64 = 1

    private static let version1 = """
        CREATE TABLE writer (
            only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
            replica INTEGER NOT NULL,
            next_counter INTEGER NOT NULL,
            next_record INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE lineage (
            number INTEGER PRIMARY KEY,
            replica INTEGER NOT NULL UNIQUE,
            device INTEGER,
            shared INTEGER
        ) STRICT;
        CREATE TABLE enrolment (
            only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
            server TEXT NOT NULL,
            token TEXT NOT NULL,
            pin BLOB,
            authority TEXT,
            device INTEGER NOT NULL,
            device_name TEXT NOT NULL,
            role INTEGER NOT NULL,
            territory TEXT NOT NULL,
            team TEXT NOT NULL,
            banner TEXT NOT NULL,
            offset_minutes INTEGER NOT NULL,
            buckets BLOB NOT NULL
        ) STRICT;
        CREATE TABLE pull (
            only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
            term INTEGER NOT NULL,
            sequence INTEGER NOT NULL,
            scope INTEGER NOT NULL,
            resume BLOB NOT NULL,
            assignment BLOB,
            held_from INTEGER,
            completed_at INTEGER,
            hub_schema INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE staging (
            number INTEGER PRIMARY KEY,
            page BLOB NOT NULL
        ) STRICT;
        CREATE TABLE record (
            id BLOB PRIMARY KEY,
            kind INTEGER NOT NULL,
            parent BLOB,
            created INTEGER NOT NULL,
            visible INTEGER NOT NULL,
            state BLOB NOT NULL
        ) STRICT;
        CREATE INDEX record_by_kind ON record (kind);
        CREATE INDEX record_by_parent ON record (parent) WHERE parent IS NOT NULL;
        CREATE INDEX record_hidden ON record (id) WHERE visible = 0;
        CREATE TABLE outbox (
            number INTEGER PRIMARY KEY,
            replica INTEGER NOT NULL,
            counter INTEGER NOT NULL,
            record BLOB NOT NULL,
            state INTEGER NOT NULL,
            content BLOB NOT NULL
        ) STRICT;
        CREATE TABLE refused (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            record BLOB NOT NULL,
            code INTEGER NOT NULL,
            field INTEGER NOT NULL,
            reason TEXT NOT NULL,
            refused_at INTEGER NOT NULL,
            content BLOB NOT NULL
        ) STRICT;
        CREATE TABLE person (
            replica INTEGER PRIMARY KEY,
            name TEXT NOT NULL
        ) STRICT;
        CREATE TABLE boot (
            number INTEGER PRIMARY KEY,
            boot INTEGER NOT NULL UNIQUE,
            hub INTEGER NOT NULL,
            elapsed INTEGER NOT NULL,
            wall INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE seen (
            record BLOB PRIMARY KEY,
            dispatch_order INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE notice (
            number INTEGER PRIMARY KEY,
            kind INTEGER NOT NULL,
            milliseconds INTEGER NOT NULL,
            amount INTEGER NOT NULL
        ) STRICT;
        INSERT INTO pull VALUES (1, 0, 0, 0, x'', NULL, NULL, NULL, 0);
        """

    private static let recoveryOfVersion2 = """
        CREATE TABLE reached (
            term INTEGER PRIMARY KEY,
            sequence INTEGER NOT NULL
        ) STRICT;
        INSERT INTO reached SELECT term, sequence FROM pull WHERE sequence > 0;
        CREATE TABLE recovery (
            only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
            shared INTEGER NOT NULL,
            term INTEGER NOT NULL,
            sequence INTEGER NOT NULL,
            kind INTEGER NOT NULL,
            record BLOB NOT NULL,
            amount INTEGER NOT NULL
        ) STRICT;
        """

    /// `places` are the held buckets that the record lies in (1 recorder, 2 team, 4 grid, 8
    /// reference data); `digest` is that of SPEC §9; `checksum` covers all of the row but `visible`.
    private static let digestsOfVersion2 = """
        ALTER TABLE record ADD COLUMN places INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE record ADD COLUMN digest INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE record ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
        CREATE TABLE suspect (record BLOB PRIMARY KEY) STRICT;
        CREATE TABLE audit (
            only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
            digest INTEGER NOT NULL,
            walked BLOB NOT NULL,
            walked_digest INTEGER NOT NULL,
            parts BLOB NOT NULL,
            tried INTEGER NOT NULL,
            given_up INTEGER
        ) STRICT;
        INSERT INTO audit VALUES (1, 0, x'', 0, x'', 0, NULL);
        """

    /// The last four digits of an id, by which people name it; without them each command that
    /// shows one would read the ids of all. And the counter that came next when the hub's level
    /// was last seen to change.
    private static let endsOfVersion3 = """
        CREATE INDEX record_by_end ON record (substr(id, 15));
        ALTER TABLE pull ADD COLUMN hub_schema_counter INTEGER NOT NULL DEFAULT 0;
        """

    private static let stagingOfVersion3 = """

        ALTER TABLE staging ADD COLUMN request BLOB;
        ALTER TABLE staging ADD COLUMN checksum INTEGER;
        ALTER TABLE pull ADD COLUMN missing_from INTEGER;
        """

    /// Of the present replica.
    private static let setAsideOfVersion3 = """

        CREATE TABLE set_aside (
            first_counter INTEGER PRIMARY KEY,
            next_counter INTEGER NOT NULL,
            chain INTEGER NOT NULL
        ) STRICT;
        """

    /// See ``SyncCore/HashChain``; one of a journal from before begins with what it held.
    private static let chainsOfVersion3 = """

        ALTER TABLE writer ADD COLUMN chain INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE lineage ADD COLUMN chain INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE outbox ADD COLUMN chain INTEGER NOT NULL DEFAULT 0;
        """

    /// The term in which a recovery's shared part ends; 0 when a former version began it.
    private static let recoveryOfVersion4 = """
        ALTER TABLE recovery ADD COLUMN shared_term INTEGER NOT NULL DEFAULT 0;
        """

    /// Pages lie otherwise on the wire now; a pull that was under way begins anew.
    private static let stagingOfVersion5 = """
        DELETE FROM staging;
        UPDATE pull SET assignment = NULL, resume = x'';
        """
}
