import SQLiteStore
package import SyncCore

/// A time to be shown.
package struct ShownTime: Hashable, Sendable {
    /// Since 1970, by the hub's clock as well as it is known.
    package var milliseconds: Int64
    /// Not a stamp of the hub: shown with "≈".
    package var isApproximate: Bool

    package init(milliseconds: Int64, isApproximate: Bool) {
        self.milliseconds = milliseconds
        self.isApproximate = isApproximate
    }
}

/// What the hub's clock said at a moment of one boot.
struct BootAnchor {
    var hub: Int64
    var elapsed: Int64
    var wall: Int64
}

extension [UInt64: BootAnchor] {
    /// When a reading was made, by the hub's clock (DESIGN.md §4 rule 3).
    ///
    /// - Returns: Milliseconds, and whether the hub's clock was measured in that boot; otherwise
    ///   they are the device's wall clock.
    func corrected(_ reading: ClockReading) -> (milliseconds: Int64, isMeasured: Bool) {
        // A boot without a name may be any boot.
        guard reading.boot != 0, let anchor = self[reading.boot] else {
            return (reading.wallMilliseconds, false)
        }
        let passed = reading.elapsedMilliseconds.subtractingSaturated(anchor.elapsed)
        return (anchor.hub.addingSaturated(passed), true)
    }
}

extension Journal {
    /// When a clock reading was made, by the hub's clock.
    ///
    /// - Returns: Milliseconds since 1970, and whether the hub's clock was measured in the same
    ///   boot of this machine.
    package func correctedMilliseconds(
        of reading: ClockReading
    ) throws(JournalError) -> (milliseconds: Int64, isCertain: Bool) {
        try self.reading {
            let (milliseconds, isMeasured) = try readBoots().corrected(reading)
            return (milliseconds, isMeasured)
        }
    }

    /// The hub's clock now, as well as it is known.
    package func approximateNow(_ clocks: ClockReading) throws(JournalError) -> Int64 {
        try correctedMilliseconds(of: clocks).milliseconds
    }

    func readBoots() throws -> [UInt64: BootAnchor] {
        var boots: [UInt64: BootAnchor] = [:]
        try connection.forEach("SELECT boot, hub, elapsed, wall FROM boot") { row in
            boots[row.bits(at: 0)] = BootAnchor(
                hub: row.integer(at: 1), elapsed: row.integer(at: 2), wall: row.integer(at: 3))
        }
        return boots
    }

    /// Remembers what the hub's clock said between two readings, in their middle.
    func storeAnchor(hub: Int64, sent: ClockReading, received: ClockReading) throws {
        guard received.boot != 0 else { return }
        var elapsed = received.elapsedMilliseconds
        var wall = received.wallMilliseconds
        if sent.boot == received.boot, sent.elapsedMilliseconds <= elapsed {
            let half = elapsed.subtractingSaturated(sent.elapsedMilliseconds) / 2
            elapsed -= half
            wall = wall.subtractingSaturated(half)
        }
        // A new row each time, so that the bound drops the boot that synced longest ago.
        try connection.run("DELETE FROM boot WHERE boot = ?", .bits(received.boot))
        try connection.run(
            """
            INSERT INTO boot (number, boot, hub, elapsed, wall)
            VALUES ((SELECT coalesce(max(number), 0) + 1 FROM boot), ?, ?, ?, ?)
            """,
            .bits(received.boot), .integer(hub), .integer(elapsed), .integer(wall))
        try connection.run(
            "DELETE FROM boot WHERE number <= (SELECT max(number) FROM boot) - ?",
            .integer(JournalLimits.bootsMax))
    }
}
