import SyncCore
import Testing

@testable import HubLedger

/// What the ledger keeps of a record and of a batch's outcomes comes back as it was.
@Suite struct StoredFormTests {
    private struct Draw: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state ^ state >> 29
        }
    }

    /// Versions as one command wrote them and others changed them, with values that are the grid's
    /// code, empty, cleared; some of another origin, time or place.
    private func record(
        _ draw: inout Draw, withPositions: Bool
    ) -> (state: RecordState, row: RecordState.Row) {
        let row = RecordState.Row(
            firstSequence: UInt64.random(in: 1...1_000, using: &draw),
            createdMilliseconds: Int64.random(in: -9...9_000, using: &draw),
            grid: Bool.random(using: &draw) ? "152921100200001" : nil)
        var state = RecordState()
        var field: UInt32 = 0
        for index in 0..<UInt64.random(in: 0...12, using: &draw) {
            field += UInt32.random(in: 1...40, using: &draw)
            var versions: [Version] = []
            for _ in 0..<(Int.random(in: 0..<4, using: &draw) == 0 ? 2 : 1) {
                let isAsCreated = versions.isEmpty && Int.random(in: 0..<4, using: &draw) > 0
                let later = isAsCreated ? 0 : UInt64.random(in: 1...400, using: &draw)
                let sequence = row.firstSequence + index + later
                let replica: UInt64 = later % 3 == 0 ? 7 : 8 + UInt64(versions.count)
                let value: [UInt8]? =
                    switch Int.random(in: 0..<4, using: &draw) {
                    case 0: nil
                    case 1: []
                    case 2: Array("152921100200001".utf8)
                    default: [UInt8](repeating: 65, count: Int.random(in: 1...200, using: &draw))
                    }
                versions.append(
                    Version(
                        value: value,
                        stamp: Stamp(
                            milliseconds: row.createdMilliseconds + Int64(later),
                            dot: Dot(ReplicaID(truncating: replica), sequence + 5)),
                        sequence: sequence,
                        clock: ShortClock(
                            base: row.firstSequence - 1,
                            ancestors: later % 5 == 1 ? [Dot(ReplicaID(truncating: 99), 3)] : []),
                        formerPositions: withPositions && later > 0
                            ? [Position(term: TermID(truncating: 12), sequence: later)] : []))
            }
            state[field] = Register(live: versions)
        }
        return (state, row)
    }

    @Test(arguments: [false, true]) func recordsComeBack(withPositions: Bool) throws {
        var draw = Draw(state: 4)
        for _ in 0..<500 {
            let (state, row) = record(&draw, withPositions: withPositions)
            let bytes = state.encoded(beside: row) { Int64($0.rawValue) }
            let decoded = try RecordState(decoding: bytes, beside: row) {
                ReplicaID(truncating: UInt64($0))
            }
            #expect(decoded == state)
        }
    }

    @Test func outcomesComeBack() throws {
        var draw = Draw(state: 5)
        for _ in 0..<500 {
            let outcomes = (0..<Int.random(in: 0...20, using: &draw)).map { _ in
                if Int.random(in: 0..<5, using: &draw) == 0 {
                    return StoredOutcome(
                        outcome: .rejected(code: 7, field: 2, reason: "no such grid"))
                }
                let first = Int64.random(in: -5...5_000_000_000_000, using: &draw)
                let superseded: [UInt32] = Bool.random(using: &draw) ? [] : [3, 64]
                return StoredOutcome(
                    outcome: .applied(superseded: superseded),
                    sequence: UInt64.random(in: 1...UInt64.max, using: &draw),
                    basis: [.elapsed, .correctedWall, .wall][Int.random(in: 0..<3, using: &draw)],
                    stamps: StampList(
                        (0..<Int.random(in: 1...12, using: &draw)).map { index in
                            first + (superseded.isEmpty ? 0 : Int64(index))
                        }))
            }
            #expect(try StoredOutcome.decode(StoredOutcome.encode(outcomes)) == outcomes)
        }
    }
}
