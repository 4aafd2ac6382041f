import SyncCore

/// What happened, as a hash of everything and the last events in plain words.
package struct Trace: Sendable {
    private var hash = ContentHash()
    package private(set) var recent: [String] = []
    package private(set) var eventCount = 0
    /// How many events a failure shows.
    private static let recentMax = 40

    package var value: UInt64 { hash.value }

    mutating func note(_ event: String) {
        eventCount += 1
        hash.combine(Array(event.utf8))
        hash.combine([0])
        recent.append(event)
        if recent.count > Self.recentMax { recent.removeFirst() }
    }

    mutating func note(bytes: [UInt8]) { hash.combine(bytes) }
}

/// An invariant that did not hold.
package struct Violation: Error, CustomStringConvertible, Sendable {
    /// Its number in `protocol/SIMULATION.md`.
    package var invariant: Int
    package var what: String

    package var description: String { "invariant \(invariant): \(what)" }
}
