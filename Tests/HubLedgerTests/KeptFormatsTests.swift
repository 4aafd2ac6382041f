import Foundation
import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import HubLedger

/// A ledger of each format that was ever written stays here, the first as `tools/demo` left it, and
/// must open for ever. The people in it are invented.
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

    /// Version 2 was the first that took back what a restore had lost. Its ledger here is a backup
    /// to which 丙, an office, brought back what 甲 and 乙 wrote after it, and no one else has come.
    @Test("what was brought back to a ledger of version 2 is known to this program")
    func broughtBack() throws {
        let kept = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("Fixtures/ledger-2.sqlite")
        let other = try TestHub()
        try FileManager.default.copyItem(atPath: kept.path, toPath: other.scratch.path("kept"))
        let hub = try other.opening("kept", seed: 7)
        #expect(try hub.ledger.check() == [])

        // Its writer sends it again, and nothing comes twice.
        let devices = try hub.ledger.devices().map(\.device)
        func device(_ name: String) throws -> TestDevice {
            let id = try #require(devices.first { $0.name == name }).id
            return TestDevice(hub: hub, id: id, token: "")
        }
        let worker = try device("甲")
        let came = try hub.ledger.inspectBrought()
        let dot = try #require(
            came.first {
                $0.version.dot.replica == worker.replica
                    && $0.field == NeedField.address.rawValue
            }
        ).version.dot
        let need = try #require(came.first { $0.version.dot == dot }).record
        worker.nextCounter = dot.counter
        worker.edit(need, .address, .text("一"))
        var request = worker.request()
        request.chain = HashChain.empty.appending(
            try hub.ledger.inspectGroups().filter { $0.replica == worker.replica }.map(\.group))
        let outcomes = try #require(try hub.sync(worker, request).outcomes)
        #expect(outcomes.refusals == [] && outcomes.settledCounter == dot.counter + 1)
        #expect(try hub.register(.address, of: need).versions.count == 1)

        // And a need gets back to its recorder, whom the hub had not known.
        let recorder = try device("乙")
        let lost = try #require(came.first { $0.record.replica == recorder.replica }).record
        #expect(try hub.record(lost)?.device == nil)
        try recorder.sync()
        #expect(try hub.record(lost)?.device == recorder.id)
        #expect(recorder.state[lost] != nil)
        #expect(try hub.ledger.check() == [])
    }

    @Test("a backup of each format is restored", arguments: [1, 2])
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
