import SyncCore
import Testing

@Suite struct AdmissionTests {
    private let record = RecordID(
        milliseconds: 1, replica: ReplicaID(truncating: 0xa), number: 1)

    /// Groups of two changes from a counter on; `mark` tells one copy's content from another's.
    private func groups(_ count: Int, from counter: UInt64, mark: UInt8 = 0) -> [ChangeGroup] {
        (0..<count).map { index in
            ChangeGroup(
                record: record, createdKind: nil, firstCounter: counter + 2 * UInt64(index),
                changes: [Change(field: 1, value: [mark]), Change(field: 2, value: nil)],
                base: .origin,
                written: ClockReading(wallMilliseconds: 0, boot: 1, elapsedMilliseconds: 2))
        }
    }

    private func judge(
        _ groups: [ChangeGroup], stored: [ChangeGroup], expected: UInt64? = nil,
        next: UInt64? = nil, isSameBelow: (UInt64) -> Bool = { _ in true }
    ) -> Admission {
        Admission.judge(
            groups: groups, expected: expected ?? stored.last?.nextCounter ?? 1,
            deviceNextCounter: next ?? groups.last?.nextCounter ?? 1,
            isSameBelow: isSameBelow,
            stored: { counter in stored.first { $0.firstCounter == counter } })
    }

    @Test func aFirstTryIsNew() {
        #expect(judge(groups(3, from: 1), stored: []) == .admit(knownGroups: 0))
        #expect(judge([], stored: []) == .admit(knownGroups: 0))
    }

    @Test func aRetryIsKnownAndAdmittedOnce() {
        #expect(
            judge(groups(3, from: 1), stored: groups(3, from: 1)) == .admit(knownGroups: 3))
        #expect(
            judge(groups(3, from: 1), stored: groups(2, from: 1)) == .admit(knownGroups: 2))
        #expect(
            judge(groups(2, from: 3), stored: groups(3, from: 1), next: 7)
                == .admit(knownGroups: 2))
    }

    @Test func otherContentUnderUsedCountersForks() {
        let stored = groups(1, from: 1) + groups(2, from: 3, mark: 9)
        #expect(judge(groups(3, from: 1), stored: stored) == .fork(index: 1, counter: 3))
    }

    @Test func aGroupThatStartsInsideAKnownOneForks() {
        #expect(
            judge(groups(1, from: 2), stored: groups(1, from: 1)) == .fork(index: 0, counter: 2))
    }

    @Test func countersOfARecordedGapFork() {
        #expect(
            judge(groups(1, from: 1), stored: [], expected: 9) == .fork(index: 0, counter: 1))
    }

    @Test func aJournalBehindTheHubForksWhereItEnds() {
        #expect(judge([], stored: groups(3, from: 1), next: 3) == .fork(index: 0, counter: 3))
        #expect(
            judge(groups(1, from: 1), stored: groups(3, from: 1), next: 3)
                == .fork(index: 1, counter: 3))
    }

    /// The second copy sends only its first group, which both share. Its other groups were not
    /// compared yet, so they must neither be taken for the hub's nor be left out of the fork.
    @Test func aJournalBehindTheHubDoesNotForkBeforeAllOfItWasCompared() {
        let stored = groups(1, from: 1) + groups(3, from: 3, mark: 9)
        #expect(judge(groups(1, from: 1), stored: stored, next: 5) == .admit(knownGroups: 1))
        #expect(
            judge(groups(1, from: 3), stored: stored, next: 5) == .fork(index: 0, counter: 3))
    }

    @Test func aBatchAheadOfTheHubWaitsForWhatIsMissing() {
        #expect(judge(groups(1, from: 5), stored: groups(1, from: 1)) == .expected(counter: 3))
        #expect(judge(groups(1, from: 5), stored: []) == .expected(counter: 1))
    }

    /// Whatever it is that another copy has written there, nobody can say from where on.
    @Test func anotherChainBelowSharesNothing() {
        let stored = groups(1, from: 1, mark: 9) + groups(1, from: 3)
        for batch in [groups(1, from: 3), groups(2, from: 3), groups(1, from: 5)] {
            #expect(
                judge(batch, stored: stored, isSameBelow: { _ in false })
                    == .fork(index: 0, counter: 1))
        }
        #expect(
            judge([], stored: stored, next: 5, isSameBelow: { _ in false })
                == .fork(index: 0, counter: 1))
    }

    @Test func theChainIsComparedBelowTheBatch() {
        let stored = groups(3, from: 1)
        #expect(
            judge(groups(3, from: 3), stored: stored, isSameBelow: { $0 == 3 })
                == .admit(knownGroups: 2))
        #expect(
            judge([], stored: stored, next: 7, isSameBelow: { $0 == 7 }) == .admit(knownGroups: 0))
        // What is not here cannot be compared.
        #expect(
            judge(groups(1, from: 9), stored: stored, isSameBelow: { _ in false })
                == .expected(counter: 7))
        #expect(judge([], stored: stored, next: 9) == .expected(counter: 7))
    }

    private struct Unreadable: Error {}

    @Test func aStoreThatCannotBeReadIsNotMistakenForAFork() {
        #expect(throws: Unreadable.self) {
            try Admission.judge(
                groups: groups(1, from: 1), expected: 3, deviceNextCounter: 3,
                isSameBelow: { _ in true }, stored: { _ in throw Unreadable() })
        }
    }
}
