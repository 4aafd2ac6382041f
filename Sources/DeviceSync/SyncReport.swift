package import DeviceJournal
package import SyncCore

/// What one sync did and cost.
package struct SyncReport: Sendable {
    package var result: DeviceSession.Result
    /// Why it did not complete; `nil` when it did.
    package var failure: SyncError?
    package var news = News()
    /// Own commands that the hub decided on, refused ones included.
    package var settledGroups = 0
    /// Own commands that still wait.
    package var waitingGroups = 0
    /// What the person should know beside the news, newest first.
    package var notices: [Notice] = []
    /// Records that were not what the hub has, and are now.
    package var mendedRecords = 0
    /// Requests that were answered.
    package var roundTrips = 0
    /// HTTP bytes with headers, of requests that were answered; without TLS and TCP.
    package var bytesUp = 0
    package var bytesDown = 0
    package var connections = 0
    package var elapsedMilliseconds = 0
}

/// How far a sync is.
package struct SyncProgress: Hashable, Sendable {
    package var roundTrips: Int
    package var bytesUp: Int
    package var bytesDown: Int
    package var settledGroups: Int
}
