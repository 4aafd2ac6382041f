import NeedModel
import SQLiteStore
import SyncCore
import Testing
import WireFormat

@testable import DeviceJournal

/// What a disk makes of a pull that is under way is not shown, and holds up nothing.
@Suite struct DamagedPullTests {
    /// Two needs on the page that is kept, one on the last.
    private static func scene() throws -> (bench: Bench, needs: [PageRecord]) {
        let bench = try Bench()
        let needs = (1...3).map { bench.need("路灯 \($0)", number: UInt64($0)) }
        try bench.absorb(bench.request(), page: bench.middlePage(Array(needs[..<2]), resume: "1"))
        return (bench, needs)
    }

    @Test(arguments: ["page", "request"])
    func whatIsNotAsItCameIsFetchedAnew(column: String) throws {
        let (bench, needs) = try Self.scene()
        let connection = bench.journal.connection
        let stored =
            try column == "page"
            ? connection.first("SELECT page FROM staging") { $0.bytes(at: 0) }
            : connection.first("SELECT request FROM staging") { $0.bytes(at: 0) }
        let sound = try #require(stored)
        for bit in stride(from: 3, to: sound.count * 8, by: 61) {
            var altered = sound
            altered[bit / 8] ^= 1 << UInt8(bit % 8)
            let hex = altered.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
            try connection.execute("UPDATE staging SET \(column) = x'\(hex)'")
            var request = try bench.request()
            let absorbed = try bench.absorb(request, page: bench.lastPage([needs[2]]))
            #expect(absorbed.answer.progressed && !absorbed.answer.pullComplete, "bit \(bit)")
            #expect(try bench.journal.needs().isEmpty)
            request = try bench.request()
            #expect(request.resume.isEmpty)
            try bench.absorb(request, page: bench.middlePage(Array(needs[..<2]), resume: "1"))
        }
        try bench.absorb(bench.request(), page: bench.lastPage([needs[2]]))
        #expect(try bench.journal.needs().count == 3)
    }

    @Test func anAssignmentThatCannotBeReadIsAskedForAgain() throws {
        let (bench, needs) = try Self.scene()
        try bench.journal.connection.execute("UPDATE pull SET assignment = x'ff'")
        try bench.absorb(bench.request(), page: bench.lastPage([needs[2]]))
        #expect(try bench.request().resume.isEmpty)
        try bench.pull(needs)
        #expect(try bench.journal.needs().count == 3)
    }
}
