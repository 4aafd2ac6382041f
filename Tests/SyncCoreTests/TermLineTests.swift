import SyncCore
import Testing

@Suite struct TermLineTests {
    private let first = TermID(truncating: 0x1111)
    private let second = TermID(truncating: 0x2222)
    private let third = TermID(truncating: 0x3333)
    private let head: UInt64 = 99

    private var line: TermLine {
        TermLine([
            .init(term: first, first: 1), .init(term: second, first: 51),
            .init(term: third, first: 80),
        ])
    }

    @Test func aPositionWithinItsTermIsKept() {
        for (term, sequence) in [(first, 1), (first, 50), (second, 79), (third, 99)]
            as [(TermID, UInt64)]
        {
            let position = Position(term: term, sequence: sequence)
            #expect(line.cut(position, head: head) == sequence)
            #expect(line.contains(position, head: head))
        }
    }

    @Test func aPositionBeyondItsTermIsCutToTheSharedPart() {
        for (term, sequence, end) in [(first, 70, 50), (second, .max, 79), (third, 100, 99)]
            as [(TermID, UInt64, UInt64)]
        {
            let position = Position(term: term, sequence: sequence)
            #expect(line.cut(position, head: head) == end)
            #expect(!line.contains(position, head: head))
        }
    }

    @Test func aTermOfAnotherLineSharesNothing() {
        let stranger = Position(term: TermID(truncating: 9), sequence: 10)
        #expect(line.cut(stranger, head: head) == 0)
        #expect(!line.contains(stranger, head: head))
        #expect(!line.contains(Position(term: TermID(truncating: 9), sequence: 0), head: head))
    }

    @Test func theOriginIsOnEveryLine() {
        #expect(line.contains(.origin, head: head))
        #expect(line.cut(.origin, head: head) == 0)
        #expect(TermLine().contains(.origin, head: 0))
        #expect(TermLine().current == .none)
    }

    @Test func aSequenceBelongsToTheTermThatGaveItOut() {
        for (sequence, term) in [(0, .none), (1, first), (50, first), (51, second), (200, third)]
            as [(UInt64, TermID)]
        {
            #expect(line.term(at: sequence) == term)
        }
        #expect(line.current == third)
    }

    @Test func cuttingNeverGrowsAndKeepsOrder() {
        forEachSeed(5_000) { generator in
            var line = TermLine()
            var head: UInt64 = 0
            for _ in 0...generator.below(5) {
                line.open(.init(term: .random(using: &generator), first: head + 1))
                head += UInt64(1 + generator.below(10))
            }
            let term = line.entries.randomElement(using: &generator)!.term
            let low = UInt64(generator.below(60))
            let high = low + UInt64(generator.below(10))
            let cutLow = line.cut(Position(term: term, sequence: low), head: head)
            let cutHigh = line.cut(Position(term: term, sequence: high), head: head)
            try check(cutLow <= low && cutHigh <= head, "grew")
            try check(cutLow <= cutHigh, "out of order")
            try check(
                line.contains(Position(term: term, sequence: low), head: head) == (cutLow == low))
        }
    }
}
