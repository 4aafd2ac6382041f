import SQLiteStore

/// The ledger's tables, version by version.
///
/// A record's key is its creating replica's row times 2^26 plus its record number, so records of
/// one replica lie side by side and the id needs no index. Where two copies of a journal gave one
/// number twice, the later id gets a key from `record_overflow`, under replica row 0.
enum LedgerSchema {
    /// "WYLG"
    static let applicationID: Int32 = 0x5759_4C47

    static var steps: [Migration] {
        [
            Migration(version: 1, sql: version1),
            Migration(version: 2) { connection in
                try connection.execute(
                    version2Events + version2Brought + version2Replica + version2Batch)
                try SQLiteLedgerStorage.storeChecksums(connection)
            },
            Migration(version: 3) { connection in
                let batches = try SQLiteLedgerStorage.broughtBatches(connection)
                try connection.execute("DROP TABLE brought;" + version3Brought)
                try SQLiteLedgerStorage.storeBrought(of: batches, connection)
            },
        ]
    }

    /// What devices brought back of a record, batch by batch, after a restore: see ``BroughtRow``.
    /// And of which records something came back that a replica wrote, or that it named.
    private static let version3Brought = """
        CREATE TABLE brought (
            record INTEGER NOT NULL,
            batch INTEGER NOT NULL,
            device INTEGER NOT NULL,
            content BLOB NOT NULL,
            checksum INTEGER NOT NULL,
            PRIMARY KEY (record, batch)
        ) WITHOUT ROWID;
        CREATE TABLE brought_replica (
            replica INTEGER NOT NULL,
            record INTEGER NOT NULL,
            PRIMARY KEY (replica, record)
        ) WITHOUT ROWID;
        """

    /// See ``BatchRow/checksum`` and ``BatchRow/chain``.
    private static let version2Batch = """
        ALTER TABLE batch ADD COLUMN checksum INTEGER;
        ALTER TABLE batch ADD COLUMN chain INTEGER;
        """

    /// In which batches devices brought back something of a record; version 3 keeps more.
    private static let version2Brought = """
        CREATE TABLE brought (
            record INTEGER NOT NULL,
            batch INTEGER NOT NULL,
            PRIMARY KEY (record, batch)
        ) WITHOUT ROWID;
        """

    /// See ``ReplicaRow/chain``.
    private static let version2Replica = """
        ALTER TABLE replica ADD COLUMN chain INTEGER;
        """

    /// See ``LedgerEvent``; `kind` is its number.
    private static let version2Events = """
        CREATE TABLE ledger_event (
            number INTEGER PRIMARY KEY,
            kind INTEGER NOT NULL,
            milliseconds INTEGER NOT NULL,
            term INTEGER NOT NULL,
            sequence INTEGER NOT NULL,
            device INTEGER
        );
        """

    private static let version1 = """
        CREATE TABLE ledger (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            banner TEXT NOT NULL,
            name TEXT NOT NULL,
            offset_minutes INTEGER NOT NULL,
            server_key BLOB
        );
        CREATE TABLE term (
            number INTEGER PRIMARY KEY,
            id INTEGER NOT NULL UNIQUE,
            first_sequence INTEGER NOT NULL,
            opened_milliseconds INTEGER NOT NULL
        );
        CREATE TABLE device (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL,
            role INTEGER NOT NULL,
            territory TEXT NOT NULL,
            team TEXT NOT NULL,
            token_hash BLOB NOT NULL UNIQUE,
            enrolled_milliseconds INTEGER NOT NULL,
            revoked_milliseconds INTEGER,
            last_sync_milliseconds INTEGER,
            last_sequence INTEGER NOT NULL DEFAULT 0,
            refused_groups INTEGER NOT NULL DEFAULT 0
        );
        CREATE TABLE invite (
            code_hash BLOB PRIMARY KEY,
            name TEXT NOT NULL,
            role INTEGER NOT NULL,
            territory TEXT NOT NULL,
            team TEXT NOT NULL,
            expires_milliseconds INTEGER NOT NULL,
            used_milliseconds INTEGER,
            device INTEGER,
            replica INTEGER
        ) WITHOUT ROWID;
        CREATE TABLE device_boot (
            device INTEGER NOT NULL,
            boot INTEGER NOT NULL,
            offset_milliseconds INTEGER NOT NULL,
            measured_milliseconds INTEGER NOT NULL,
            PRIMARY KEY (device, boot)
        ) WITHOUT ROWID;
        CREATE TABLE device_scope (
            device INTEGER NOT NULL,
            sequence INTEGER NOT NULL,
            scope INTEGER NOT NULL,
            PRIMARY KEY (device, sequence)
        ) WITHOUT ROWID;
        CREATE TABLE scope (id INTEGER PRIMARY KEY, buckets TEXT NOT NULL);
        CREATE TABLE replica (
            row INTEGER PRIMARY KEY,
            id INTEGER NOT NULL UNIQUE,
            device INTEGER,
            next_counter INTEGER NOT NULL,
            newest_stamp INTEGER,
            ancestors BLOB NOT NULL,
            lost_changes INTEGER NOT NULL DEFAULT 0
        );
        CREATE INDEX replica_device ON replica (device);
        CREATE TABLE record (
            key INTEGER PRIMARY KEY,
            id BLOB NOT NULL,
            kind INTEGER NOT NULL,
            created_milliseconds INTEGER NOT NULL,
            device INTEGER,
            parent INTEGER,
            grid TEXT,
            team TEXT,
            first_sequence INTEGER NOT NULL,
            last_sequence INTEGER NOT NULL,
            left_sequence INTEGER NOT NULL,
            conflicted INTEGER,
            state BLOB NOT NULL
        );
        CREATE INDEX record_grid ON record (grid) WHERE grid IS NOT NULL;
        CREATE INDEX record_team ON record (team) WHERE team IS NOT NULL;
        CREATE INDEX record_device ON record (device) WHERE device IS NOT NULL;
        CREATE INDEX record_parent ON record (parent) WHERE parent IS NOT NULL;
        CREATE INDEX record_reference ON record (key) WHERE kind >= 3;
        CREATE INDEX record_conflicted ON record (conflicted) WHERE conflicted IS NOT NULL;
        CREATE TABLE record_overflow (id BLOB PRIMARY KEY, key INTEGER NOT NULL) WITHOUT ROWID;
        CREATE TABLE refused_record (id BLOB PRIMARY KEY) WITHOUT ROWID;
        CREATE TABLE batch (
            number INTEGER PRIMARY KEY,
            first_sequence INTEGER NOT NULL,
            last_sequence INTEGER NOT NULL,
            replica INTEGER NOT NULL,
            first_counter INTEGER NOT NULL,
            next_counter INTEGER NOT NULL,
            received_milliseconds INTEGER NOT NULL,
            newest_stamp INTEGER,
            content BLOB NOT NULL,
            outcomes BLOB NOT NULL,
            touched BLOB NOT NULL
        );
        CREATE INDEX batch_sequence ON batch (last_sequence);
        CREATE INDEX batch_replica ON batch (replica, first_counter);
        CREATE TABLE history (
            record INTEGER NOT NULL,
            batch INTEGER NOT NULL,
            PRIMARY KEY (record, batch)
        ) WITHOUT ROWID;
        CREATE TABLE bucket (name TEXT PRIMARY KEY, digest INTEGER NOT NULL) WITHOUT ROWID;
        CREATE TABLE territory (
            code TEXT PRIMARY KEY,
            name TEXT NOT NULL,
            level TEXT NOT NULL,
            parent TEXT,
            key INTEGER NOT NULL
        ) WITHOUT ROWID;
        CREATE INDEX territory_parent ON territory (parent);
        CREATE TABLE team (
            code TEXT PRIMARY KEY,
            name TEXT NOT NULL,
            territory TEXT NOT NULL,
            key INTEGER NOT NULL
        ) WITHOUT ROWID;
        CREATE TABLE category (
            code TEXT PRIMARY KEY,
            name TEXT NOT NULL,
            key INTEGER NOT NULL
        ) WITHOUT ROWID;
        CREATE TABLE route (
            category TEXT NOT NULL,
            territory TEXT NOT NULL,
            team TEXT NOT NULL,
            due_days INTEGER,
            PRIMARY KEY (category, territory)
        ) WITHOUT ROWID;
        """
}
