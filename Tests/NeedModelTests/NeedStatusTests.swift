import NeedModel
import SyncCore
import Testing

/// DESIGN.md §4, rule 7: a status is computed, and only answers to the current order count.
@Suite struct NeedStatusTests {
    private typealias Answer = FieldValue.Answer

    /// Live versions of one field, all concurrent, the later ones newer.
    private func register(_ values: [FieldValue?]) -> Register {
        Register(
            live: values.enumerated().map { index, value in
                Version(
                    value: value?.bytes,
                    stamp: Stamp(
                        milliseconds: Int64(index),
                        dot: Dot(ReplicaID(truncating: UInt64(index) + 1), 1)),
                    sequence: UInt64(index) + 1, clock: ShortClock(base: 0))
            })
    }

    private func progress(
        dispatch: [FieldValue?] = [], answer: [FieldValue?] = [], rating: [FieldValue?] = [],
        withdrawal: [FieldValue?] = []
    ) -> NeedProgress {
        NeedProgress { field in
            switch field {
            case .dispatch: self.register(dispatch)
            case .answer: self.register(answer)
            case .rating: self.register(rating)
            case .withdrawal: self.register(withdrawal)
            default: Register()
            }
        }
    }

    private func order(_ order: UInt64, due: String? = nil) -> FieldValue {
        .dispatch(.init(order: order, team: "T\(order)", due: due.flatMap { CivilDate($0) }))
    }

    private func answer(_ order: UInt64, _ verdict: FieldValue.Verdict) -> FieldValue {
        .answer(.init(order: order, verdict: verdict, text: "because"))
    }

    private func rating(_ order: UInt64, _ grade: Int = 5) -> FieldValue {
        .rating(.init(order: order, grade: grade))
    }

    @Test func eachStepOfTheLoop() {
        #expect(progress().status == .recorded)
        #expect(progress(dispatch: [order(1)]).status == .dispatched)
        for (verdict, status) in [
            (.accepted, .accepted), (.declined, .declined), (.started, .started),
            (.finished, .finished),
        ] as [(FieldValue.Verdict, NeedStatus)] {
            let step = progress(dispatch: [order(1)], answer: [answer(1, verdict)])
            #expect(step.status == status)
            #expect(step.answer?.verdict == verdict)
        }
        let rated = progress(
            dispatch: [order(1)], answer: [answer(1, .finished)], rating: [rating(1)])
        #expect(rated.status == .rated)
        #expect(rated.rating?.grade == 5)
    }

    @Test func aClearedOrderIsNoOrder() {
        #expect(progress(dispatch: [nil], answer: [answer(1, .accepted)]).status == .recorded)
    }

    @Test func aLateAnswerToAFormerOrderChangesNothing() {
        let late = progress(
            dispatch: [order(2)], answer: [answer(2, .accepted), answer(1, .finished)])
        #expect(late.status == .accepted)
        #expect(late.answer?.order == 2)
        #expect(late.answerVersion?.stamp.milliseconds == 0)
        let alone = progress(dispatch: [order(2)], answer: [answer(1, .finished)])
        #expect(alone.status == .dispatched)
        #expect(alone.answer == nil)
    }

    @Test func ofSeveralAnswersToTheOrderTheNewestCounts() {
        let both = progress(
            dispatch: [order(1)], answer: [answer(1, .accepted), answer(1, .declined)])
        #expect(both.status == .declined)
    }

    @Test func ofTwoOrdersTheNewestIsTheCurrentOne() {
        let both = progress(
            dispatch: [order(1), order(2)], answer: [answer(2, .started), answer(1, .finished)])
        #expect(both.dispatch?.team == "T2")
        #expect(both.status == .started)
    }

    @Test func aRatingCountsOnlyForItsFinishedOrder() {
        let early = progress(
            dispatch: [order(1)], answer: [answer(1, .started)], rating: [rating(1)])
        #expect(early.status == .started)
        #expect(early.rating == nil)
        let former = progress(
            dispatch: [order(2)], answer: [answer(2, .finished)], rating: [rating(1)])
        #expect(former.status == .finished)
        let concurrent = progress(
            dispatch: [order(2)], answer: [answer(2, .finished)],
            rating: [rating(2, 4), rating(1, 1)])
        #expect(concurrent.rating?.grade == 4)
    }

    @Test func aWithdrawalHidesAnyStatusAndItsUndoShowsItAgain() {
        let reason = FieldValue.withdrawal(reason: "")
        let hidden = progress(
            dispatch: [order(1)], answer: [answer(1, .started)], withdrawal: [reason])
        #expect(hidden.status == .withdrawn)
        let shown = progress(
            dispatch: [order(1)], answer: [answer(1, .started)], withdrawal: [reason, nil])
        #expect(shown.status == .started)
    }

    @Test func valuesThatCannotBeReadCountForNothing() {
        let broken = NeedProgress { field in
            Register(live: [
                Version(
                    value: field == .withdrawal ? nil : [0xff],
                    stamp: Stamp(milliseconds: 0, dot: Dot(ReplicaID(truncating: 1), 1)),
                    sequence: 1, clock: ShortClock(base: 0))
            ])
        }
        #expect(broken.status == .recorded)
    }

    @Test func overdueIsAfterTheDueDayWithWorkLeft() throws {
        let today = try #require(CivilDate("2026-07-02"))
        func isOverdue(_ due: String?, _ verdict: FieldValue.Verdict? = nil) -> Bool {
            progress(
                dispatch: [order(1, due: due)], answer: verdict.map { [answer(1, $0)] } ?? []
            ).isOverdue(today: today)
        }
        #expect(isOverdue("2026-07-01"))
        #expect(!isOverdue("2026-07-02"))
        #expect(!isOverdue(nil))
        #expect(isOverdue("2026-07-01", .started))
        #expect(isOverdue("2026-07-01", .declined))
        #expect(!isOverdue("2026-07-01", .finished))
        #expect(!progress().isOverdue(today: today))
    }
}
