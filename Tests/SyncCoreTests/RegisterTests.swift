import SyncCore
import Testing

@Suite struct RegisterTests {
    private let alice = ReplicaID(truncating: 0xa)
    private let bob = ReplicaID(truncating: 0xb)

    private func version(
        _ replica: ReplicaID, _ counter: UInt64, at milliseconds: Int64, sequence: UInt64,
        base: UInt64 = 0, ancestors: [Dot] = [], value: [UInt8]? = [1]
    ) -> Version {
        Version(
            value: value, stamp: Stamp(milliseconds: milliseconds, dot: Dot(replica, counter)),
            sequence: sequence, clock: ShortClock(base: base, ancestors: ancestors))
    }

    @Test func anUnwrittenRegisterHasNoWinnerAndNoConflict() {
        let register = Register()
        #expect(register.winner == nil)
        #expect(!register.isInConflict)
        #expect(register.newestCovered(by: version(alice, 1, at: 1, sequence: 1)) == nil)
    }

    @Test func equalMillisecondsAreDecidedByReplicaThenCounter() {
        let first = version(alice, 9, at: 5, sequence: 1)
        let second = version(bob, 1, at: 5, sequence: 2)
        #expect(Register(live: [first, second]).winner == second)
        #expect(Stamp(milliseconds: 5, dot: Dot(alice, 1)) < first.stamp)
        #expect(first.stamp < Stamp(milliseconds: 6, dot: Dot(alice, 1)))
    }

    @Test func concurrentWritesOfOneValueAreBothKeptWithoutConflict() {
        var register = Register()
        register.insert(version(alice, 1, at: 5, sequence: 1))
        register.insert(version(bob, 1, at: 6, sequence: 2))
        #expect(register.versions.count == 2)
        #expect(!register.isInConflict)
    }

    @Test func aClearAndAnEmptyValueDisagree() {
        let register = Register(live: [
            version(alice, 1, at: 5, sequence: 1, value: nil),
            version(bob, 1, at: 6, sequence: 2, value: []),
        ])
        #expect(register.isInConflict)
    }

    @Test func aLaterWriteThatSawBothSettlesTheConflict() {
        var register = Register(live: [
            version(alice, 1, at: 5, sequence: 1, value: [1]),
            version(bob, 1, at: 6, sequence: 2, value: [2]),
        ])
        let settling = version(alice, 2, at: 7, sequence: 3, base: 2, value: [1])
        #expect(register.newestCovered(by: settling) == 6)
        let isLive = register.insert(settling)
        #expect(isLive)
        #expect(register.versions == [settling])
        let isLateOneLive = register.insert(version(bob, 1, at: 6, sequence: 2, value: [2]))
        #expect(!isLateOneLive)
        #expect(register.versions == [settling])
    }

    @Test func anUnadmittedVersionIsCoveredOnlyByItsOwnReplica() {
        let waiting = version(alice, 1, at: 5, sequence: 0)
        #expect(!version(bob, 1, at: 6, sequence: 9, base: 8).covers(waiting))
        #expect(version(alice, 2, at: 6, sequence: 9).covers(waiting))
    }

    @Test func ancestorsCoverUpToTheSharedCounter() {
        let forked = version(bob, 1, at: 6, sequence: 9, ancestors: [Dot(alice, 3)])
        #expect(forked.covers(version(alice, 3, at: 5, sequence: 3)))
        #expect(!forked.covers(version(alice, 4, at: 5, sequence: 4)))
    }

    /// Of what came back after a restore the older version may be known to have seen more.
    @Test func aCoveredVersionTakesAwayWhatOnlyItCovers() {
        let term = ReplicaID(truncating: 0xee)
        func brought(_ counter: UInt64, sequence: UInt64, base: UInt64) -> Version {
            var version = version(
                alice, counter, at: Int64(counter), sequence: sequence, base: base,
                ancestors: [Dot(term, counter)])
            version.formerPositions = [Position(term: term, sequence: counter)]
            return version
        }
        let kept = version(bob, 1, at: 1, sequence: 3)
        let (older, newer) = (brought(5, sequence: 9, base: 3), brought(6, sequence: 8, base: 0))
        var register = Register()
        for version in [kept, newer] { register.insert(version) }
        #expect(register.versions.count == 2)
        let isLive = register.insert(older)
        #expect(!isLive)
        #expect(register.versions == [newer])
    }

    @Test func versionsThatCoverEachOtherDoNotBothGo() {
        let one = version(alice, 1, at: 1, sequence: 1, base: 9)
        let other = version(bob, 1, at: 2, sequence: 2, base: 9)
        var register = Register()
        for version in [one, other] { register.insert(version) }
        #expect(register.versions == [one])
    }

    // MARK: - Tombstones

    private func contested(
        _ tombstone: Register, among fields: [(field: UInt32, register: Register)]
    ) -> [UInt32] {
        Tombstone.contestedFields(of: tombstone, among: fields)
    }

    @Test func anEditThatTheDeleteHadNotSeenIsContested() {
        let delete = Register(live: [version(alice, 5, at: 50, sequence: 10, base: 4)])
        let seen = Register(live: [version(bob, 1, at: 10, sequence: 4)])
        let unseen = Register(live: [version(bob, 2, at: 20, sequence: 6)])
        let later = Register(live: [version(bob, 3, at: 60, sequence: 12, base: 10)])
        #expect(
            contested(delete, among: [(7, unseen), (1, seen), (2, later), (3, unseen)]) == [3, 7])
    }

    @Test func oneConcurrentVersionAmongSeveralIsEnough() {
        let delete = Register(live: [version(alice, 5, at: 50, sequence: 10, base: 4)])
        let both = Register(live: [
            version(bob, 1, at: 30, sequence: 4),
            version(ReplicaID(truncating: 0xc), 1, at: 20, sequence: 6),
        ])
        #expect(contested(delete, among: [(1, both)]) == [1])
    }

    @Test func anUndeleteOrNoDeleteContestsNothing() {
        let edit = Register(live: [version(bob, 2, at: 20, sequence: 6)])
        let undelete = Register(live: [version(alice, 5, at: 50, sequence: 10, value: nil)])
        #expect(contested(undelete, among: [(1, edit)]).isEmpty)
        #expect(contested(Register(), among: [(1, edit)]).isEmpty)
    }
}
