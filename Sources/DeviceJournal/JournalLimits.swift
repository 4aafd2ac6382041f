/// The journal's own bounds; those of the protocol are in ``SyncCore/Limits``.
package enum JournalLimits {
    /// The write-ahead log's length at which a commit also folds it, and beyond which the next
    /// program empties it. Without the fold the log grows and slows every command; with a shorter
    /// one the sync of every few commands is felt.
    static let logFramesMax: Int32 = 128
    /// How long a command waits for another one that holds the journal.
    package static let busyTimeoutMilliseconds: Int32 = 5_000
    /// Boots whose clocks are remembered.
    static let bootsMax = 16
    /// Rows read again with each complete pull, to find what a disk has changed.
    static let rowsVerifiedPerPull = 128
    /// Rows read at once while all are verified.
    static let rowsPerReadMax = 256
    /// Parts of the scope that wait to be asked about; what is beyond is found by the next search.
    static let auditPartsMax = 1_024
    /// Things to tell in `status`.
    static let noticesMax = 8
    /// Content of one command, so that a group always fits a frame.
    static let groupBytesMax = 256 << 10
    /// Records listed when a short id is ambiguous.
    static let ambiguousMax = 8
    /// What one group and one change cost in a batch beside their values, in bytes.
    static let groupOverheadBytes = 12
    static let changeOverheadBytes = 3
}
