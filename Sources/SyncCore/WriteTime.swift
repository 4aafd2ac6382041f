/// What a device's two clocks said at one moment.
///
/// The wall clock may be wrong by decades and step at any time. The boot clock counts from the
/// machine's start, asleep or awake (CLOCK_BOOTTIME), and never steps, but means nothing in
/// another boot.
package struct ClockReading: Hashable, Sendable {
    /// Milliseconds since 1970, as the device believes.
    package var wallMilliseconds: Int64
    /// Names the boot; the first 8 bytes of Linux's random boot id.
    package var boot: UInt64
    /// Milliseconds since that boot.
    package var elapsedMilliseconds: Int64

    package init(wallMilliseconds: Int64, boot: UInt64, elapsedMilliseconds: Int64) {
        self.wallMilliseconds = wallMilliseconds
        self.boot = boot
        self.elapsedMilliseconds = elapsedMilliseconds
    }
}

/// The ledger's best guess of when a change was made.
package struct WriteTimeEstimate: Hashable, Sendable {
    package enum Basis: UInt8, Sendable {
        /// Same boot as the request: the ledger's clock less the time that passed. Exact.
        case elapsed = 0
        /// Another boot in which the device also synced: its wall clock, corrected by how wrong
        /// it was then.
        case correctedWall = 1
        /// Nothing but the device's wall clock; people are shown that this is uncertain.
        case wall = 2
    }

    /// Milliseconds since 1970 by the ledger's clock; not yet clamped (see ``StampLaw``).
    package var milliseconds: Int64
    package var basis: Basis

    /// - Parameters:
    ///   - written: The clocks when the change was made.
    ///   - sent: The clocks when the request left; `hub` is the same moment by the ledger.
    ///   - hub: The ledger's clock, milliseconds.
    ///   - measuredOffset: How far the ledger's clock was ahead of the device's wall clock at the
    ///     last sync in the boot of `written`, if there was one.
    package init(
        written: ClockReading, sent: ClockReading, hub: Int64, measuredOffset: Int64?
    ) {
        if written.boot == sent.boot && written.boot != 0 {
            // Saturating, since a hostile device may send any number.
            let passed = max(
                0, sent.elapsedMilliseconds.subtractingSaturated(written.elapsedMilliseconds))
            self.init(milliseconds: hub.subtractingSaturated(passed), basis: .elapsed)
        } else if let measuredOffset {
            self.init(
                milliseconds: written.wallMilliseconds.addingSaturated(measuredOffset),
                basis: .correctedWall)
        } else {
            self.init(milliseconds: written.wallMilliseconds, basis: .wall)
        }
    }

    private init(milliseconds: Int64, basis: Basis) {
        self.milliseconds = milliseconds
        self.basis = basis
    }
}

extension Int64 {
    package func addingSaturated(_ other: Int64) -> Int64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? (other < 0 ? .min : .max) : sum
    }

    package func subtractingSaturated(_ other: Int64) -> Int64 {
        let (difference, overflow) = subtractingReportingOverflow(other)
        return overflow ? (other < 0 ? .max : .min) : difference
    }
}
