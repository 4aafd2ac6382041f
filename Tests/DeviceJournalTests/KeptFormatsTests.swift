import Foundation
import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import DeviceJournal

/// A journal of each format that was ever written stays here, as `tools/demo` left it, and must
/// open for ever. The people in it are invented.
@Suite struct KeptFormatsTests {
    @Test(arguments: [1]) func journalOfEachFormatOpensAndTakesMore(version: Int) throws {
        let kept = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("Fixtures/journal-\(version).sqlite")
        let directory = FileManager.default.temporaryDirectory
            .appendingPathComponent("kept-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let copy = directory.appendingPathComponent("journal.sqlite")
        try FileManager.default.copyItem(at: kept, to: copy)

        let journal = try Journal(path: copy.path)
        #expect(try journal.integrityCheck().isEmpty)
        #expect(try journal.identity()?.role == .worker)
        let needs = try journal.needs()
        #expect(needs.count == 3)
        #expect(needs.contains { $0.status == .rated && $0.rating?.grade == 5 })
        let grid = try #require(try journal.ownGrids().first?.code)
        let clocks = ClockReading(wallMilliseconds: 0, boot: 1, elapsedMilliseconds: 0)
        _ = try journal.addNeed(
            [FieldEdit(.text, .text("新的")), FieldEdit(.grid, .text(grid))], clocks: clocks)
        #expect(try journal.needs().count == 4)
        // What it wrote before it kept chains is like no copy's.
        let request = try journal.makeRequest(
            batchBytesMax: 10_000, pageBytesMax: 10_000, clocks: clocks, attempt: 1)
        #expect(request.groups.count == 1 && request.chain.map { $0 != .empty } == true)
    }
}
