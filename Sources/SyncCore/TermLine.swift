/// The terms of one ledger, oldest first: who gave out which part of its sequence.
///
/// Restoring a backup leaves devices with positions in a term that this line does not contain, or
/// beyond the place where the next term began; such a position is cut to the shared part.
package struct TermLine: Hashable, Sendable {
    package struct Entry: Hashable, Sendable {
        package var term: TermID
        /// The first sequence of the term: the event that opened it.
        package var first: UInt64

        package init(term: TermID, first: UInt64) {
            self.term = term
            self.first = first
        }
    }

    /// Ascending by `first`.
    package private(set) var entries: [Entry]

    package init(_ entries: [Entry] = []) { self.entries = entries }

    package mutating func open(_ entry: Entry) {
        precondition(entries.last.map { $0.first <= entry.first } ?? true, "terms only move on")
        entries.append(entry)
    }

    package var current: TermID { entries.last?.term ?? .none }

    /// The part of a position that lies on this line: 0 for a term that is not on it.
    ///
    /// - Parameter head: The ledger's newest sequence; nothing is cut to beyond it.
    package func cut(_ position: Position, head: UInt64) -> UInt64 {
        guard let index = entries.lastIndex(where: { $0.term == position.term }) else { return 0 }
        let end = index + 1 < entries.count ? entries[index + 1].first - 1 : head
        return min(position.sequence, end)
    }

    /// Whether a position was reached on this line and not cut.
    package func contains(_ position: Position, head: UInt64) -> Bool {
        position == .origin
            || cut(position, head: head) == position.sequence
                && contains(position.term)
    }

    package func contains(_ term: TermID) -> Bool { entries.contains { $0.term == term } }

    /// The term in which a sequence was given out.
    package func term(at sequence: UInt64) -> TermID {
        entries.last { $0.first <= sequence }?.term ?? .none
    }
}
