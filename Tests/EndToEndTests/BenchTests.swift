import Foundation
import Testing

/// The benchmark's own parts, at the smallest size: a figure of a tool that does something else
/// than it says would be worse than none. No time is judged here.
@Suite(.lane) struct BenchTests {
    private static let program = Programs.folder + "/bench"

    @Test func aSeededLedgerIsWhatWasAskedFor() async throws {
        let folder = FileManager.default.temporaryDirectory.path + "/waystation-bench-\(UUID())"
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        func bench(_ arguments: String...) async throws -> JSON {
            let outcome = try await Child(
                [Self.program] + arguments, environment: Programs.environment, folder: folder
            ).end()
            guard outcome.code == 0 else { throw Surprise(outcome.description) }
            return try outcome.json()
        }
        let (ledger, devices) = (folder + "/ledger.sqlite", folder + "/devices")
        let first = try await bench(
            "seed", ledger, "--devices", devices, "--needs", "60", "--count", "2", "--edited", "70")
        #expect(first["needs"].integer == 60)
        // 5 % of 42 edits are concurrent with the other device's.
        #expect(first["open_conflicts"].integer == 2)
        let pairs = try await bench(
            "pairs", "--devices", devices, "--ledger", ledger, "--pairs", "3")
        #expect(pairs["pairs"].integer == 3)
        // In every grid that has two devices: the first, of 200 needs, could give but 7.
        let grids = try await bench(
            "seed", folder + "/grids.sqlite", "--devices", folder + "/more", "--needs", "1440",
            "--count", "5", "--grids", "2", "--edited", "70")
        #expect(grids["open_conflicts"].integer ?? 0 > 7)
        // Devices go on where they were, and nothing that they edit makes a need.
        let second = try await bench(
            "seed", ledger, "--devices", devices, "--needs", "80", "--count", "2")
        #expect(second["needs"].integer == 80)
        // 15 pairs of fields were edited, and 20 needs recorded, beside the start's own term.
        let changes = 3 * 10 + 20 * 11
        #expect((second["head"].integer ?? 0) - (first["head"].integer ?? 0) == changes + 2)
    }
}
