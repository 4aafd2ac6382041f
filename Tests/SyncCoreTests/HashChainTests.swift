import SyncCore
import Testing

@Suite struct HashChainTests {
    private let first = ChangeGroup(
        record: RecordID(milliseconds: 1, replica: ReplicaID(truncating: 0xa), number: 1),
        createdKind: nil, firstCounter: 5, changes: [Change(field: 1, value: [1])],
        base: Position(term: TermID(truncating: 3), sequence: 4),
        written: ClockReading(wallMilliseconds: 6, boot: 7, elapsedMilliseconds: 8))

    @Test func everyPartOfAGroupCounts() {
        var variants = [first]
        func add(_ edit: (inout ChangeGroup) -> Void) {
            var other = first
            edit(&other)
            variants.append(other)
        }
        add { $0.record = RecordID(milliseconds: 2, replica: $0.record.replica, number: 1) }
        add { $0.createdKind = 0 }
        add { $0.createdKind = 1 }
        add { $0.firstCounter = 6 }
        add { $0.base.sequence = 5 }
        add { $0.base.term = TermID(truncating: 4) }
        add { $0.written.wallMilliseconds = 7 }
        add { $0.written.boot = 8 }
        add { $0.written.elapsedMilliseconds = 9 }
        add { $0.changes = [Change(field: 2, value: [1])] }
        add { $0.changes = [Change(field: 1, value: [2])] }
        add { $0.changes = [Change(field: 1, value: [])] }
        add { $0.changes = [Change(field: 1, value: nil)] }
        add { $0.changes = [Change(field: 1, value: [1]), Change(field: 2, value: nil)] }
        let chains = variants.map { HashChain.empty.appending([$0]) }
        #expect(Set(chains).count == variants.count)
        #expect(!chains.contains(.empty))
    }

    @Test func theOrderCounts() {
        var second = first
        second.firstCounter = 6
        #expect(
            HashChain.empty.appending([first, second])
                != HashChain.empty.appending([second, first]))
        #expect(
            HashChain.empty.appending([first]).appending([second])
                == HashChain.empty.appending([first, second]))
    }

    /// The values of a batch lie in one block.
    @Test func whereTheValuesLieDoesNot() {
        var inBlock = first
        let block = ChangeList.Block(
            bytes: [9, 1],
            spans: [
                ValueSpan(field: 4, length: 1, offset: 0),
                ValueSpan(field: 1, length: 1, offset: 1),
            ])
        inBlock.changes = ChangeList(block, 1..<2)
        #expect(HashChain.empty.appending([inBlock]) == HashChain.empty.appending([first]))
    }
}
