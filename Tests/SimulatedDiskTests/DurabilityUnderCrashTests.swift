import Foundation
import SimulatedDisk
import Testing

/// Random histories that crash at a random step, again and again.
@Suite struct DurabilityUnderCrashTests {
    /// The seeds to run. `WAYSTATION_SEED` replays one, `WAYSTATION_HISTORIES` sets how many.
    private func seeds(_ count: Int = 500) -> Range<Int> {
        func number(_ name: String) -> Int? {
            ProcessInfo.processInfo.environment[name].flatMap { Int($0) }
        }
        if let seed = number("WAYSTATION_SEED") { return seed..<seed + 1 }
        return 0..<(number("WAYSTATION_HISTORIES") ?? count)
    }

    private func fail(_ seed: Int, _ complaint: String) {
        Issue.record(
            """
            seed \(seed): \(complaint)
            replay: WAYSTATION_SEED=\(seed) swift test --filter DurabilityUnderCrashTests
            """)
    }

    /// Runs a history that meets a fault, three times over, and returns what is wrong afterwards.
    private func complaint(
        _ history: History, _ fault: Disk.Fault, transactions: Int = 12
    ) throws -> String? {
        for _ in 1...3 {
            history.disk.failNext(after: history.choices.number(1...120), with: fault)
            _ = history.run(transactions: transactions)
            if case .crash(let crash) = fault {
                // Should the history have ended before its step.
                history.disk.crash(crash)
            } else {
                history.disk.cancelFaults()
            }
            if let complaint = try history.complaint() { return complaint }
        }
        return nil
    }

    @Test func powerLossLosesNothingCommittedAndHalvesNothing() throws {
        for seed in seeds(2_000) {
            let history = History(seed: seed)
            if let complaint = try complaint(history, .crash(.powerLost)) {
                return fail(seed, complaint)
            }
        }
    }

    /// Here names matter, not only content: a commit is the deletion of a file.
    @Test func powerLossLosesNothingCommittedWithARollbackJournal() throws {
        for seed in seeds() {
            let history = History(seed: seed, .rollbackJournal)
            if let complaint = try complaint(history, .crash(.powerLost)) {
                return fail(seed, complaint)
            }
        }
    }

    @Test func killLosesNothingCommittedAndHalvesNothing() throws {
        for seed in seeds() {
            let history = History(seed: seed)
            if let complaint = try complaint(history, .crash(.processKilled)) {
                return fail(seed, complaint)
            }
        }
    }

    @Test func ioErrorLosesNothingCommittedAndHalvesNothing() throws {
        for seed in seeds() {
            let history = History(seed: seed)
            if let complaint = try complaint(history, .ioError) { return fail(seed, complaint) }
        }
    }

    @Test func fullDiskLosesNothingCommittedAndHalvesNothing() throws {
        for seed in seeds() {
            let history = History(seed: seed)
            if let complaint = try complaint(history, .full) { return fail(seed, complaint) }
        }
    }

    /// Were it otherwise, the tests above would prove nothing.
    @Test func powerLossLosesCommitsThatWereNotSynced() throws {
        let losses = try (1...200).filter { seed in
            let history = History(seed: seed, .unsynced)
            return try complaint(history, .crash(.powerLost)) != nil
        }
        #expect(losses.count > 100)
    }

    @Test func killLosesNothingEvenUnsynced() throws {
        for seed in seeds() {
            let history = History(seed: seed, .unsynced)
            if let complaint = try complaint(history, .crash(.processKilled)) {
                return fail(seed, complaint)
            }
        }
    }
}
