import SyncCore

/// What can go wrong in a simulated world, each by its name on the command line.
///
/// A run switches each allowed fault on or off by its seed, and draws its rate, so that some runs
/// have one fault only and others nearly all.
package enum Fault: String, CaseIterable, Sendable {
    // The network
    case requestLost = "request-lost"
    case answerLost = "answer-lost"
    case duplicated
    case delayed
    /// Two messages under way exchange the times at which they arrive.
    case reordered
    case truncated
    case bitFlipped = "bit-flipped"
    /// An earlier answer comes again.
    case staleAnswer = "stale-answer"
    /// No answer before the device gives up waiting.
    case hung
    /// Requests that come while the hub's disk works share its next commit.
    case sharedCommit = "shared-commit"
    /// A copy of the hub or of a device gets what is made to do harm.
    case hostileFrame = "hostile-frame"
    // Storage
    case deviceKilled = "device-killed"
    case devicePowerLost = "device-power-lost"
    case hubKilled = "hub-killed"
    case hubPowerLost = "hub-power-lost"
    /// Committed, but the answer was never sent.
    case hubKilledBeforeReply = "hub-killed-before-reply"
    case diskFull = "disk-full"
    case ioError = "io-error"
    /// A record in a journal changes, vanishes or comes back without the journal's doing.
    case journalCorrupted = "journal-corrupted"
    // Clocks
    case clockWild = "clock-wild"
    case clockSteps = "clock-steps"
    case clockDrifts = "clock-drifts"
    case clockFrozen = "clock-frozen"
    case reboot
    case hubClockSteps = "hub-clock-steps"
    // People
    case journalRestored = "journal-restored"
    case journalCloned = "journal-cloned"
    case territoryChanged = "territory-changed"
    /// In the middle of somebody's pull a grid moves, or a need is given to another team.
    case reassigned
    /// People withdraw needs.
    case tombstones
    /// The ledger is put back to an older backup, and goes on from there.
    case hubRestored = "hub-restored"
    /// A device that stays away for a year.
    case silentYear = "silent-year"
    // Old and new programs side by side
    /// A device writes kinds and fields of a later release.
    case newerClient = "newer-client"
    /// The hub begins as a program that does not know notes, and is upgraded on the way.
    case olderHub = "older-hub"

    /// How often in a run, per chance; 0 in most. A generator of its own decides, so a further fault
    /// leaves the others as they are.
    func rate(inRun seed: UInt64) -> Double {
        let chance = Self.chance(inRun: seed, named: rawValue)
        return chance.happens(0.4) ? Double(chance.below(1_000)) / 1_000 * rateMax : 0
    }

    /// One to five of the faults that a run has. What many faults hide, because none of them is
    /// left alone for long enough, shows where there are few.
    package static func few(inRun seed: UInt64) -> Set<Fault> {
        var chance = chance(inRun: seed, named: "few")
        let present = allCases.filter { $0.rate(inRun: seed) > 0 }
        return Set(present.shuffled(using: &chance).prefix(1 + chance.below(fewMax)))
    }

    private static let fewMax = 5

    private static func chance(inRun seed: UInt64, named name: String) -> Chance {
        var hash = ContentHash()
        hash.combine(seed)
        hash.combine(Array(name.utf8))
        return Chance(seed: hash.value)
    }

    /// How often at most, per chance.
    private var rateMax: Double {
        switch self {
        case .requestLost, .answerLost, .duplicated, .delayed, .reordered: 0.4
        case .truncated, .bitFlipped, .staleAnswer, .hung: 0.15
        case .sharedCommit: 0.8
        case .hostileFrame: 0.03
        case .deviceKilled, .devicePowerLost, .hubKilled, .hubPowerLost: 0.08
        case .hubKilledBeforeReply, .diskFull, .ioError: 0.06
        case .journalCorrupted: 0.05
        case .clockWild: 1
        case .clockSteps, .reboot, .hubClockSteps: 0.05
        case .clockDrifts, .clockFrozen: 0.5
        case .journalRestored, .journalCloned: 0.015
        case .territoryChanged: 0.02
        case .hubRestored: 0.04
        case .silentYear: 0.01
        case .newerClient, .olderHub, .reassigned, .tombstones: 1
        }
    }
}
