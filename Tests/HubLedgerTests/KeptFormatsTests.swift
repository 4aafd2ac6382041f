import Foundation
import NeedModel
import Testing

@testable import HubLedger

/// A ledger of each format that was ever written stays here, as `tools/demo` left it, and must open
/// for ever. The people in it are invented.
@Suite("Kept formats") struct KeptFormatsTests {
    @Test("a ledger of each format opens, is sound and takes more", arguments: [1])
    func opens(version: Int) throws {
        let kept = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("Fixtures/ledger-\(version).sqlite")
        let directory = FileManager.default.temporaryDirectory
            .appendingPathComponent("kept-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let copy = directory.appendingPathComponent("ledger.sqlite")
        try FileManager.default.copyItem(at: kept, to: copy)

        let ledger = try Ledger(opening: copy.path, clock: { 1_800_000_000_000 })
        #expect(try ledger.check().isEmpty)
        #expect(try ledger.events().isEmpty)
        let needs = try ledger.needs()
        #expect(needs.count == 3)
        let open = try #require(needs.first { $0.progress.status == .recorded })
        try ledger.dispatch(open.id, team: "T02", due: nil)
        #expect(try ledger.needs().allSatisfy { $0.progress.status != .recorded })
        try ledger.noteRestored()
        #expect(try ledger.events().map(\.kind) == [.restored])
        #expect(try ledger.check().isEmpty)
    }

    @Test("a backup of each format is restored", arguments: [1])
    func restores(version: Int) throws {
        let kept = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("Fixtures/ledger-\(version).sqlite")
        let scratch = try Scratch()
        let before = try readFile(kept.path)
        let report = try Ledger.restore(
            from: kept.path, to: scratch.path("ledger"), clock: { 1_800_000_000_000 })
        #expect(report.needs == 3 && report.keptAs == nil)
        #expect(try readFile(kept.path) == before)
    }
}
