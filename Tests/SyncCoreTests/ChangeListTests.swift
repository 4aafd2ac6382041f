import Testing

@testable import SyncCore

/// A group's changes are the same whether they lie alone or among those of a batch.
@Suite struct ChangeListTests {
    private let changes = [
        Change(field: 1, value: [1, 2, 3]), Change(field: 4, value: []),
        Change(field: 2, value: nil), Change(field: 9, value: [7]),
    ]

    @Test func changesComeBack() {
        let list = ChangeList(changes)
        #expect(Array(list) == changes)
        #expect(list.count == 4)
        #expect(list.span(at: 2).length == ValueSpan.cleared)
        #expect(list.isValue(list.span(at: 0), [1, 2, 3]))
        #expect(!list.isValue(list.span(at: 2), [UInt8]()))
        #expect(list.isValue(list.span(at: 1), ""))
    }

    @Test func aPartOfABlockIsItsChanges() {
        // The values of a batch lie in another order than its changes.
        let block = ChangeList.Block(
            bytes: [7, 1, 2, 3],
            spans: [
                ValueSpan(field: 1, length: 3, offset: 1),
                ValueSpan(field: 4, length: 0, offset: 4),
                ValueSpan(field: 2, length: ValueSpan.cleared, offset: 0),
                ValueSpan(field: 9, length: 1, offset: 0),
            ])
        #expect(ChangeList(block, 0..<4) == ChangeList(changes))
        #expect(ChangeList(block, 2..<4) == ChangeList(changes.suffix(2)))
        #expect(ChangeList(block, 0..<3) != ChangeList(changes))
        #expect(ChangeList(block, 1..<2) != ChangeList(changes[2..<3]))
        #expect(ChangeList(block, 0..<4).hashValue == ChangeList(changes).hashValue)
    }
}
