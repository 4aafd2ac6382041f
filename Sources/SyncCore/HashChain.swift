/// A running hash of all that a replica wrote, in order.
///
/// Two that write under one replica (a journal and its copy, or itself before a restore) have the
/// same chain below a counter only if they wrote the same below it. So a hub that compares the
/// chain of a batch with its own knows that all before the batch is the writer's, also what was
/// refused, and what neither side holds any more.
///
/// - SeeAlso: `protocol/SPEC.md` §6 and §9, with test vectors.
package struct HashChain: Hashable, Sendable {
    /// 0 before the first group.
    package private(set) var value: UInt64

    /// Of a replica that wrote nothing yet.
    package static let empty = HashChain(0)

    package init(_ value: UInt64) { self.value = value }

    /// Goes on behind a group.
    package mutating func append(_ group: ChangeGroup) {
        var hash = ContentHash()
        hash.combine(value)
        hash.combine(group.firstCounter)
        hash.combine(group.record)
        hash.combine(group.createdKind.map { UInt64($0) + 1 } ?? 0)
        hash.combine(group.base.term.rawValue)
        hash.combine(group.base.sequence)
        hash.combine(UInt64(bitPattern: group.written.wallMilliseconds))
        hash.combine(group.written.boot)
        hash.combine(UInt64(bitPattern: group.written.elapsedMilliseconds))
        hash.combine(UInt64(group.changes.count))
        group.changes.bytes.withUnsafeBufferPointer { bytes in
            for span in group.changes.spans {
                hash.combine(UInt64(span.field))
                // A cleared field and an empty value differ.
                if span.length < 0 {
                    hash.combine(0)
                } else {
                    hash.combine(UInt64(span.length) + 1)
                    hash.combine(bytes.value(span))
                }
            }
        }
        value = hash.value
    }

    package func appending(_ groups: some Sequence<ChangeGroup>) -> HashChain {
        var chain = self
        for group in groups { chain.append(group) }
        return chain
    }
}

/// A replica that another one descends from.
package struct Ancestor: Hashable, Sendable {
    /// The last counter that both have in common; 0 for none.
    package var dot: Dot
    /// Of all up to that.
    package var chain: HashChain

    package init(_ dot: Dot, chain: HashChain) {
        self.dot = dot
        self.chain = chain
    }
}
