/// Every bound of the HTTP server, each with its unit; the protocol's own are SyncCore's `Limits`.
package enum HubLimits {
    /// Jobs that wait for the ledger's thread; one more is answered 503.
    package static let queuedJobsMax = 1_024
    /// Requests that share one commit, so that the first of them does not wait for hundreds.
    package static let syncsPerCommitMax = 64
    /// How many times as long as the last commit took, the next one may wait for more requests.
    package static let commitWaitFactor = 4
    package static let commitWaitMillisecondsMax: Int64 = 50
    /// Bodies and inflated messages of all requests in hand, together.
    package static let bufferedBytesMax = 256 << 20
    /// What a request's fields and list entries take of it, each, beside their bytes: a group of
    /// one change is 4 of them at least, and 130 bytes in memory.
    package static let requestEntryBytes = 32
    /// Tokens that need not be looked up before a request is read.
    package static let knownTokensMax = 16_384
    package static let connectionsMax = 4_096
    /// File descriptors kept free for the ledger, its log and its backups, and for the event
    /// loops, each of which has three of its own.
    package static func descriptorsKept(loops: Int) -> Int { 64 + 3 * loops }
    /// A connection on which nothing moves for this long is closed, after twice as long at the
    /// latest. Long, because over 2G an answer can take minutes to leave the kernel's buffers, and
    /// counts as still meanwhile.
    package static let stillSecondsMax: Int64 = 300
    /// From a request's head to the end of its body: 1 MiB at 600 B/s.
    package static let bodySecondsMax: Int64 = 1_800
    /// How much of an unwanted body is read, so that the client gets to see why.
    package static let drainedBytesMax = 8 << 20
    /// How long requests in hand may take once the server was told to stop.
    package static let stopSecondsMax: Int64 = 30
    /// How old the times of last syncs may be that other programs see.
    package static let flushSeconds: Int64 = 10
    /// How often a disk that failed is tried again, when `/readyz` is asked.
    package static let storeTrialSeconds: Int64 = 5
    /// How long a request's line may wait for others before it is written to the log.
    package static let logMillisecondsMax: Int64 = 50
    /// Lines that wait for the log; with more they are written at once.
    package static let logBytesAtOnce = 64 << 10
    /// Lines that wait while nobody reads the log; more are dropped and counted.
    package static let logBytesMax = 1 << 20
    /// How long the end of the server waits for whoever reads its log.
    package static let logLastMillisecondsMax = 2_000
    package static let tokenBytesMax = 256
    package static let headerBytesMax = 16 << 10
    /// What Retry-After says when the ledger is busy, and when its disk fails.
    package static let retryBusySeconds = 5
    package static let retryDiskSeconds = 60
}
