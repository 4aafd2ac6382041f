import NeedModel
import SQLiteStore
import SyncCore
import Testing
import WireFormat

@testable import DeviceJournal

@Suite struct ShortIDTests {
    @Test func anyUnambiguousEndOrBeginningWillDo() throws {
        let bench = try Bench()
        let ids = try (0..<20).map { try bench.add("\($0)") }
        let short = try bench.journal.shortIDs()
        #expect(Set(short.keys) == Set(ids))
        for id in ids {
            let end = try #require(short[id])
            #expect(end.count >= 4)
            #expect(id.digits.hasSuffix(end))
            #expect(try bench.journal.resolve(end) == id)
            #expect(try bench.journal.resolve(end.uppercased()) == id)
            #expect(try bench.journal.resolve(id.description) == id)
            #expect(try bench.journal.resolve(id.digits) == id)
            #expect(try bench.journal.shortID(of: id) == end)
            // One digit less is too short or means several.
            if end.count > 4 {
                #expect(throws: JournalError.self) {
                    try bench.journal.resolve(String(end.dropFirst()))
                }
            }
        }
        // All were recorded in one quarter of an hour, so a beginning means all of them.
        let beginning = String(ids[0].digits.prefix(6))
        let error = try #require(throws: JournalError.self) {
            try bench.journal.resolve(beginning)
        }
        guard case .ambiguous(beginning, let candidates) = error else {
            Issue.record("\(error) instead of ambiguous")
            return
        }
        #expect(candidates.count == 8)
    }

    @Test func aBeginningThatOnlyOneHasNamesIt() throws {
        let bench = try Bench()
        let near = RecordID(milliseconds: Bench.hubStart, replica: Bench.stranger, number: 1)
        let far = RecordID(milliseconds: 1_000, replica: Bench.stranger, number: 2)
        try bench.pull([
            bench.page(near, [1: Array("甲".utf8)]), bench.page(far, [1: Array("乙".utf8)]),
        ])
        #expect(try bench.journal.resolve(String(near.description.prefix(9))) == near)
        #expect(try bench.journal.resolve(String(far.digits.prefix(4))) == far)
    }

    @Test func alikeEndsGrowUntilTheyDiffer() {
        let ids = [
            RecordID(high: 1, low: 0xAAAA_1111), RecordID(high: 1, low: 0xBAAA_1111),
            RecordID(high: 2, low: 0xBAAA_1111), RecordID(high: 2, low: 7),
        ]
        let names = ShortIDs(ids)
        let short = Dictionary(uniqueKeysWithValues: ids.map { ($0, names[$0]) })
        #expect(short[ids[0]] == "aaaa1111")
        #expect(short[ids[1]]?.count == 17)
        #expect(short[ids[2]]?.count == 17)
        #expect(short[ids[3]] == "0007")
    }

    /// A copied journal and its original: the same replica and number at another time.
    @Test func whatDiffersInTimeAloneIsNamedByIt() throws {
        let bench = try Bench()
        func named(_ milliseconds: Int64, _ number: UInt64) -> RecordID {
            RecordID(milliseconds: milliseconds, replica: Bench.stranger, number: number)
        }
        let start: Int64 = 0x019F_1E68_9C01
        // A minute apart, and a millisecond: the last digit of the time tells.
        let pairs = [(start, start + 60_000), (start + 0x10_0000, start + 0x10_0001)]
        var ids: [RecordID] = []
        for (index, (one, other)) in pairs.enumerated() {
            ids += [named(one, UInt64(index + 1)), named(other, UInt64(index + 1))]
        }
        ids.append(named(start + 0x100_0000, 3))
        try bench.pull(ids.map { bench.page($0, [1: Array("水".utf8)]) })
        let short = try bench.journal.shortIDs()
        #expect(
            ids.map { short[$0]?.count } == [8, 8, 12, 12, 4])
        for id in ids {
            let name = try #require(short[id])
            #expect(try bench.journal.shortID(of: id) == name)
            #expect(try bench.journal.resolve(name) == id)
            #expect(id == ids[4] ? id.digits.hasSuffix(name) : id.digits.hasPrefix(name))
        }
    }

    /// An end goes before a beginning, so a beginning that is another's end names nobody.
    @Test func aBeginningThatIsAnEndIsNotUsed() {
        let low: UInt64 = 0x8000_0000_1111_1111
        let ids = [
            RecordID(high: 0x019F_0000_0000_7000, low: low),
            RecordID(high: 0x029F_0000_0000_7000, low: low),
            RecordID(high: 0x0A00_0000_0000_7000, low: 0x8000_0000_0000_019F),
        ]
        let names = ShortIDs(ids)
        #expect(names[ids[0]].count == 31 && ids[0].digits.hasSuffix(names[ids[0]]))
        #expect(names[ids[1]] == "029f")
        #expect(names[ids[2]] == "019f")
    }

    /// The one id is looked up, all are read: both must say the same, with needs of both sides that
    /// end alike, one that is hidden and a note among them.
    @Test func oneIsNamedAsAmongAll() throws {
        let bench = try Bench()
        // A stranger's record whose last four digits are those of the own one that comes below.
        let first = RecordID(milliseconds: 0, replica: try bench.journal.replica(), number: 1)
        let alike = try #require(
            (1...0x10000).first { Bench.strangersNeed($0).low & 0xFFFF == first.low & 0xFFFF })
        let hidden = alike + 0x20000
        let note = Bench.strangersNeed(alike + 0x30000)
        try bench.pull([
            bench.need(number: alike), bench.need(number: alike + 0x10000),
            bench.need(number: hidden), bench.need(number: alike + 1),
            bench.page(
                note, kind: .note,
                [
                    NoteField.need.rawValue: Bench.strangersNeed(alike).bytes,
                    NoteField.text.rawValue: Array("等配件".utf8),
                ]),
        ])
        try bench.pull(departed: [Bench.strangersNeed(hidden)])
        // Waits in the outbox, the others are pulled.
        let own = try bench.add()
        let short = try bench.journal.shortIDs()
        #expect(short.count == 4)
        #expect(short.values.count { $0.count > 4 } == 3)
        for (id, end) in short {
            #expect(try bench.journal.shortID(of: id) == end)
            #expect(try bench.journal.resolve(end) == id)
        }
        let error = try #require(throws: JournalError.self) {
            try bench.journal.resolve(String(own.digits.suffix(4)))
        }
        guard case .ambiguous(_, let candidates) = error else {
            Issue.record("\(error) instead of ambiguous")
            return
        }
        #expect(candidates.count == 3)
    }

    /// What keeps the cost of a command from growing with the journal.
    @Test func endsAreFoundByIndex() throws {
        let bench = try Bench()
        let plan = try bench.journal.connection.prepare(
            uncached: "EXPLAIN QUERY PLAN \(Journal.needsByEnd)")
        let steps = try plan.all { $0.text(at: 3) }
        #expect(steps == ["SEARCH record USING INDEX record_by_end (<expr>=?)"])
    }

    @Test func whatIsNoIdSaysSo() throws {
        let bench = try Bench()
        try bench.add()
        expect(.idTooShort("123")) { try bench.journal.resolve("123") }
        expect(.idTooShort("1-2-3")) { try bench.journal.resolve("1-2-3") }
        expect(.idMalformed("路灯坏了")) { try bench.journal.resolve("路灯坏了") }
        expect(.idMalformed("wxyz")) { try bench.journal.resolve("wxyz") }
        let long = String(repeating: "0", count: 33)
        expect(.idMalformed(long)) { try bench.journal.resolve(long) }
        expect(.notFound("00000000")) { try bench.journal.resolve("00000000") }
    }

    @Test func hiddenNeedsHaveNoShortId() throws {
        let bench = try Bench()
        try bench.pull([bench.need(number: 1)])
        try bench.pull(departed: [Bench.strangersNeed(1)])
        #expect(try bench.journal.shortIDs().isEmpty)
        expect(.notFound(Bench.strangersNeed(1).digits)) {
            try bench.journal.resolve(Bench.strangersNeed(1).digits)
        }
    }
}
