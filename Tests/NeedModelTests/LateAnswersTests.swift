import SyncCore
import Testing

@testable import NeedModel

/// Work of a former team: kept apart, in conflict with the dispatch, decided only by a dispatch.
@Suite struct LateAnswersTests {
    private let office = ReplicaID(truncating: 1)
    private let team = ReplicaID(truncating: 2)

    private func dispatch(_ order: UInt64, _ counter: UInt64, at: UInt64, base: UInt64) -> Version {
        version(
            FieldValue.dispatch(.init(order: order, team: "T", due: nil)).bytes,
            Dot(office, counter), at: at, base: base)
    }

    private func answer(_ order: UInt64, _ counter: UInt64, at: UInt64, base: UInt64) -> Version {
        version(
            FieldValue.answer(.init(order: order, verdict: .finished, text: "ok")).bytes,
            Dot(team, counter), at: at, base: base)
    }

    private func version(_ value: [UInt8], _ dot: Dot, at: UInt64, base: UInt64) -> Version {
        Version(
            value: value, stamp: Stamp(milliseconds: Int64(at), dot: dot), sequence: at,
            clock: ShortClock(base: base))
    }

    /// Merges changes as the hub does.
    private func merged(
        _ changes: [(NeedField, Version)]
    ) -> (late: Register, registers: [NeedField: Register]) {
        var registers: [NeedField: Register] = [:]
        var late = Register()
        for (field, version) in changes {
            registers[field, default: Register()].insert(version)
            LateAnswers.update(&late, after: field, version: version) {
                registers[$0] ?? Register()
            }
        }
        return (late, registers)
    }

    private func conflicts(_ changes: [(NeedField, Version)]) -> [NeedField] {
        let (late, registers) = merged(changes)
        return NeedConflicts.fields(isDeleteContested: false) { field in
            field == LateAnswers.field
                ? late : NeedField(rawValue: field).flatMap { registers[$0] } ?? Register()
        }
    }

    private func status(_ changes: [(NeedField, Version)]) -> NeedStatus {
        let (late, registers) = merged(changes)
        return NeedProgress(late: late) { registers[$0] ?? Register() }.status
    }

    @Test func finishAfterARedispatchThatItHadNotSeenIsPutBeforeTheOffice() {
        let changes: [(NeedField, Version)] = [
            (.dispatch, dispatch(1, 1, at: 10, base: 0)),
            (.dispatch, dispatch(2, 2, at: 20, base: 10)),
            (.answer, answer(1, 1, at: 30, base: 10)),
        ]
        #expect(conflicts(changes) == [.dispatch])
        #expect(status(changes) == .dispatched)
    }

    @Test func redispatchThatHadNotSeenTheFinishIsPutBeforeTheOfficeToo() {
        let changes: [(NeedField, Version)] = [
            (.dispatch, dispatch(1, 1, at: 10, base: 0)),
            (.answer, answer(1, 1, at: 20, base: 10)),
            (.dispatch, dispatch(2, 2, at: 30, base: 10)),
        ]
        #expect(conflicts(changes) == [.dispatch])
    }

    @Test func redispatchThatHadSeenTheFinishIsNoConflict() {
        let changes: [(NeedField, Version)] = [
            (.dispatch, dispatch(1, 1, at: 10, base: 0)),
            (.answer, answer(1, 1, at: 20, base: 10)),
            (.dispatch, dispatch(2, 2, at: 30, base: 20)),
        ]
        #expect(conflicts(changes).isEmpty)
    }

    @Test func answerOfTheNewTeamDoesNotDecideOnTheFormerTeamsWork() {
        let other = ReplicaID(truncating: 3)
        var accept = answer(2, 1, at: 40, base: 30)
        accept.stamp = Stamp(milliseconds: 40, dot: Dot(other, 1))
        let changes: [(NeedField, Version)] = [
            (.dispatch, dispatch(1, 1, at: 10, base: 0)),
            (.dispatch, dispatch(2, 2, at: 20, base: 10)),
            (.answer, answer(1, 1, at: 30, base: 10)),
            (.answer, accept),
        ]
        #expect(conflicts(changes) == [.dispatch])
    }

    @Test func dispatchThatHasSeenItDecides() {
        let changes: [(NeedField, Version)] = [
            (.dispatch, dispatch(1, 1, at: 10, base: 0)),
            (.dispatch, dispatch(2, 2, at: 20, base: 10)),
            (.answer, answer(1, 1, at: 30, base: 10)),
            (.dispatch, dispatch(2, 3, at: 40, base: 30)),
        ]
        #expect(conflicts(changes).isEmpty)
        #expect(status(changes) == .dispatched)
    }

    @Test func goingBackToTheFormerOrderLetsItsFinishCount() {
        let changes: [(NeedField, Version)] = [
            (.dispatch, dispatch(1, 1, at: 10, base: 0)),
            (.dispatch, dispatch(2, 2, at: 20, base: 10)),
            (.answer, answer(1, 1, at: 30, base: 10)),
            (.dispatch, dispatch(1, 3, at: 40, base: 30)),
        ]
        #expect(conflicts(changes).isEmpty)
        #expect(status(changes) == .finished)
    }

    /// The resident has rated what the former team had finished, before the office heard of it.
    @Test func aLateRatingComesWithTheFinishThatItHasSeen() {
        let rating = FieldValue.rating(.init(order: 1, grade: 5, comment: "")).bytes
        var other = answer(2, 9, at: 50, base: 40)
        other.stamp = Stamp(milliseconds: 50, dot: Dot(ReplicaID(truncating: 3), 1))
        let changes: [(NeedField, Version)] = [
            (.dispatch, dispatch(1, 1, at: 10, base: 0)),
            (.answer, answer(1, 1, at: 20, base: 10)),
            (.rating, version(rating, Dot(ReplicaID(truncating: 4), 1), at: 30, base: 20)),
            (.dispatch, dispatch(2, 2, at: 40, base: 10)),
            (.answer, other),
        ]
        #expect(conflicts(changes) == [.dispatch])
        #expect(status(changes) == .finished)
        let back = changes + [(.dispatch, dispatch(1, 3, at: 60, base: 50))]
        #expect(conflicts(back).isEmpty)
        #expect(status(back) == .rated)
    }

    @Test func noDeviceMayWriteTheField() {
        for role in Role.allCases {
            #expect(!role.mayWrite(.need, field: LateAnswers.field))
        }
    }
}
