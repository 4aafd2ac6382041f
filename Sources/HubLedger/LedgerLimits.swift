import SyncCore

/// Bounds of the ledger's own, beside those of the protocol in `SyncCore/Limits.swift`.
enum LedgerLimits {
    /// Grids of one banner: whoever holds all of them also holds two buckets more.
    static let gridsMax = Limits.bucketsPerScopeMax - 2
    /// Boots of one device whose clock offset is remembered.
    static let bootsPerDeviceMax = 16
    /// Batches of the feed read at once while looking for what a device may hold.
    static let feedBatchesPerReadMax = 256
    /// Batches of the feed looked through for one page, so that a long absence does not hold up
    /// everybody else.
    static let feedBatchesPerPageMax = 8_192
    /// Records that a device asked for again, held at once while they are compared with the batches.
    static let refetchedAtOnceMax = 64
    /// Bytes of one page, whatever its device wishes: its records take ten times as much memory
    /// while it is made.
    static let pageBytesMax = 384 << 10
    /// Records of a bucket read at once.
    static let recordsPerReadMax = 256
    /// Records looked through for the audit of one page, but for the first part that is asked about:
    /// everybody else waits meanwhile.
    static let auditRecordsPerPageMax = 10_000
    /// A CSV file.
    static let importBytesMax = 64 << 20
    static let importRowsMax = 1_000_000
    /// All live versions of one record, so that a page can always hold it.
    static let recordBytesMax = 512 << 10
    /// Changes of one batch that the hub writes itself, when it imports.
    static let hubChangesPerBatchMax = 8_000
    /// Last-sync times kept in memory until the next commit or ``Ledger/flush()``.
    static let pendingSyncNotesMax = 10_000
    /// Times that one device was ahead of this ledger, the newest; a device could make up any
    /// number of terms.
    static let aheadEventsPerDeviceMax = 16
    /// Replicas that never wrote here and that one device may name between two starts of the hub.
    /// A banner has some hundreds of writers, and a restore loses few of them.
    static let namedReplicasPerDeviceMax = 4_096
    /// How far beyond now the stamp of a change that is brought back may be.
    static let broughtAheadMillisecondsMax: Int64 = 60_000
    /// Live versions of one record with which what is brought back is live, too; beyond, it stays in
    /// the record's history alone. Each bears a context of its own, unlike what devices write.
    static let liveVersionsBesideBroughtMax = 128
    /// Changes of one record that one device brings back, ever. Honest ones hold some dozens; more
    /// is passed over, and crowds out nobody else's.
    static let broughtPerRecordMax = 512
    /// Changes brought back, kept by the record while one request is admitted; beyond, those of the
    /// records that were asked for longest ago are read anew.
    static let broughtChangesKeptMax = 131_072
    /// Batches kept decoded while records are compared with them.
    static let decodedBatchesMax = 8
    /// Events of records that were found to be other than admitted.
    static let alteredEventsMax = 100
    static let inviteSecondsMax: Int64 = 366 * 86_400
}
