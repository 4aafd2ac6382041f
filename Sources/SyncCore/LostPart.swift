/// The part of a ledger's sequence that a restore lost, as a device that had pulled from it knows.
///
/// A ledger that was put back to a backup shares a beginning with what a device has pulled; what
/// the device saw beyond it is lost, and its sequences are given out again. The device holds the
/// live versions as of its newest complete pull and where its pulls ended; that is enough to say,
/// without ever saying more than makes no difference, what the lost versions had seen: of every
/// field the device knows which versions were live at the end of its last pull, so all others up to
/// there were covered.
///
/// - SeeAlso: `protocol/SPEC.md` §6, *A restored hub*.
package struct LostPart: Hashable, Sendable {
    /// The last sequence that the ledger and the device have in common.
    package let shared: UInt64
    /// Where the device's complete pulls ended beyond it: ascending, one place a term.
    package let reached: [Position]
    /// What the device keeps of these places once it has everything anew: ascending, those that
    /// are shared, and the last of them cut to ``shared``. Both are on the ledger's line, and the
    /// device has been there: a pull contains what is before its end.
    package let kept: [Position]

    /// - Parameters:
    ///   - reached: Where the device's complete pulls ended, one place a term, ascending.
    ///   - line: The ledger's line of terms, or its newest part.
    ///   - head: The ledger's newest sequence.
    package init(reached: [Position], line: TermLine, head: UInt64) {
        var end = Position.origin
        for position in reached {
            let sequence = line.cut(position, head: head)
            if sequence > end.sequence { end = Position(term: position.term, sequence: sequence) }
        }
        let shared = end.sequence
        self.shared = shared
        self.reached = reached.filter { $0.sequence > shared }
        self.kept = shared == 0 ? [] : reached.filter { $0.sequence < shared } + [end]
    }

    /// Where a change of the lost part stood, by the terms of the pulls that contained it, of many
    /// the first and the last; empty when it is none of the lost part.
    ///
    /// All these terms are of one line, so whoever had pulled to there in any of them had seen it,
    /// and what they write names the one in which they pulled last.
    package func formerPositions(of sequence: UInt64) -> [Position] {
        guard sequence > shared else { return [] }
        let terms = reached.drop { $0.sequence < sequence }.map(\.term)
        let named =
            terms.count > Limits.formerPositionsMax
            ? terms.prefix(Limits.formerPositionsMax - 1) + terms.suffix(1) : terms[...]
        return named.map { Position(term: $0, sequence: sequence) }
    }

    /// What the writers of a field's live versions had seen, as far as it follows.
    ///
    /// Whatever is older than all of them is not live any more, so one of them covers it, and which
    /// of them makes no difference. Beyond the oldest nothing is claimed, nor beyond what is known
    /// not to have been seen: a claim too little can only show a conflict more. So no version has
    /// seen its own place, and two contents that claim one place do not cover each other.
    ///
    /// - Parameters:
    ///   - oldest: The least sequence of the field's live versions, as the device holds them.
    ///   - unseen: The least of other fields that is known not to have been seen.
    package func clock(oldest: UInt64, unseen: UInt64? = nil) -> ShortClock {
        let limit = max(min(oldest, unseen ?? .max), 1) - 1
        var seen = VectorClock()
        for position in reached {
            seen.observe(Dot(position.term, min(position.sequence, limit)))
        }
        return ShortClock(base: min(shared, limit), ancestors: seen.entries)
    }
}

extension TermLine {
    /// What a writer had seen of a part that is not on this line, as an entry of its clock.
    ///
    /// - Parameters:
    ///   - base: Of the change.
    ///   - sequence: Where the change is admitted.
    /// - Returns: `nil` for a base on this line, and for one in the term that admits the change,
    ///   of which nothing can be lost.
    package func lostReach(of base: Position, admittedAt sequence: UInt64) -> Dot? {
        guard base.term != term(at: sequence), base.sequence > 0,
            !contains(base, head: sequence)
        else { return nil }
        return Dot(base.term, base.sequence)
    }

    /// The short clock of a change of a device.
    ///
    /// - Parameters:
    ///   - base: Of the change.
    ///   - sequence: Where the change is admitted.
    ///   - ancestors: Of its replica.
    package func clock(
        base: Position, admittedAt sequence: UInt64, ancestors: [Dot]
    ) -> ShortClock {
        let cut = cut(base, head: sequence - 1)
        guard let lost = lostReach(of: base, admittedAt: sequence) else {
            return ShortClock(base: cut, ancestors: ancestors)
        }
        return ShortClock(base: cut, ancestors: VectorClock(ancestors + [lost]).entries)
    }
}
