import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import DeviceJournal

/// Every command is checked before it is stored, and a refused one changes nothing.
@Suite struct CommandTests {
    private func expectUnchanged(
        _ bench: Bench, _ error: JournalError, sourceLocation: SourceLocation = #_sourceLocation,
        _ body: () throws -> Void
    ) throws {
        let before = try bench.request().nextCounter
        expect(error, sourceLocation: sourceLocation, body)
        #expect(try bench.request().nextCounter == before, sourceLocation: sourceLocation)
    }

    // MARK: Recording and editing

    @Test func aNeedHasATextAndAGrid() throws {
        let bench = try Bench()
        try expectUnchanged(bench, .missing(field: .text)) {
            _ = try bench.journal.addNeed(
                [FieldEdit(.grid, .text(Bench.grid))], clocks: bench.now)
        }
        try expectUnchanged(bench, .missing(field: .grid)) {
            _ = try bench.journal.addNeed([FieldEdit(.text, .text("文"))], clocks: bench.now)
        }
    }

    @Test func aNewNeedIsToldAsItIsShownThen() throws {
        let bench = try Bench()
        _ = try bench.add()
        let told = try bench.journal.addNeed(
            [
                FieldEdit(.text, .text("路灯不亮")), FieldEdit(.grid, .text(Bench.grid)),
                FieldEdit(.urgency, .integer(3)),
                FieldEdit(.location, .location(latitude: 41_000_000, longitude: 111_000_000)),
            ], clocks: bench.now)
        #expect(try bench.journal.snapshot(of: told.id) == told)
        try bench.reopen()
        #expect(try bench.journal.snapshot(of: told.id) == told)
    }

    @Test(arguments: [
        (FieldEdit(.text, .text("")), "empty"),
        (FieldEdit(.text, .text(String(repeating: "长", count: 2_731))), "longer than 8192 bytes"),
        (FieldEdit(.urgency, .integer(4)), "not 1 to 3"),
        (FieldEdit(.urgency, .integer(0)), "not 1 to 3"),
        (FieldEdit(.phone, .text(String(repeating: "1", count: 257))), "longer than 256 bytes"),
        (FieldEdit(.location, .location(latitude: 90_000_001, longitude: 0)), "not well-formed"),
        (FieldEdit(.location, .text("x")), "not well-formed"),
        (FieldEdit(.text, nil), "cannot be cleared"),
        (FieldEdit(.grid, nil), "cannot be cleared"),
    ])
    func badValuesAreNamedByField(edit: FieldEdit, reason: String) throws {
        let bench = try Bench()
        let id = try bench.add()
        try expectUnchanged(bench, .invalid(field: edit.field, reason: reason)) {
            _ = try bench.journal.editNeed(id, [edit], clocks: bench.now)
        }
    }

    @Test func gridsAndCategoriesAreKnown() throws {
        let bench = try Bench()
        func add(_ more: FieldEdit, grid: String = Bench.grid) throws {
            _ = try bench.journal.addNeed(
                [FieldEdit(.text, .text("文")), FieldEdit(.grid, .text(grid)), more],
                clocks: bench.now)
        }
        let phone = FieldEdit(.phone, .text("1"))
        try expectUnchanged(bench, .unknownGrid("G9")) { try add(phone, grid: "G9") }
        // A village is no grid.
        try expectUnchanged(bench, .unknownGrid("V1")) { try add(phone, grid: "V1") }
        try expectUnchanged(bench, .outsideTerritory(grid: "G2")) { try add(phone, grid: "G2") }
        try expectUnchanged(bench, .unknownCategory("fun")) {
            try add(FieldEdit(.category, .text("fun")))
        }
        try add(FieldEdit(.category, .text("lighting")))
        #expect(try bench.journal.needs().map(\.category) == ["lighting"])
    }

    @Test func placesAndCategoriesAreGivenByCodeOrName() throws {
        let bench = try Bench()
        let journal = bench.journal
        for text in [Bench.grid, "第一网格", "第一"] {
            #expect(try journal.gridCode(matching: text) == Bench.grid)
        }
        // Not the device's own, and known all the same.
        #expect(try journal.gridCode(matching: Bench.otherGrid) == Bench.otherGrid)
        expect(.ambiguousName("网格", codes: [Bench.grid, Bench.otherGrid])) {
            try journal.gridCode(matching: "网格")
        }
        expect(.unknownGrid("V1")) { try journal.gridCode(matching: "V1") }
        for text in ["lighting", "路灯", "灯"] {
            #expect(try journal.categoryCode(matching: text) == "lighting")
        }
        expect(.unknownCategory("T1")) { try journal.categoryCode(matching: "T1") }
    }

    @Test func aFieldIsGivenOnce() throws {
        let bench = try Bench()
        let id = try bench.add()
        try expectUnchanged(bench, .invalid(field: .phone, reason: "given twice")) {
            _ = try bench.journal.editNeed(
                id, [FieldEdit(.phone, .text("1")), FieldEdit(.phone, .text("2"))],
                clocks: bench.now)
        }
    }

    @Test func whatBecameOfANeedIsNoEdit() throws {
        let bench = try Bench()
        let id = try bench.add()
        let rating = FieldEdit(.rating, .rating(.init(order: 1, grade: 5)))
        let error = JournalError.invalid(
            field: .rating, reason: "not changed by an edit but by a command of its own")
        try expectUnchanged(bench, error) {
            _ = try bench.journal.editNeed(id, [rating], clocks: bench.now)
        }
    }

    @Test func aTeamRecordsAndEditsNothing() throws {
        let bench = try Bench(role: .team, team: "T1")
        try expectUnchanged(bench, .notAllowed(role: .team, action: .add)) { try bench.add() }
        try bench.pull([bench.need(number: 1)])
        let id = Bench.strangersNeed(1)
        try expectUnchanged(bench, .notAllowed(role: .team, action: .edit)) {
            _ = try bench.journal.editNeed(id, [FieldEdit(.phone, .text("1"))], clocks: bench.now)
        }
        try expectUnchanged(bench, .notAllowed(role: .team, action: .withdraw)) {
            _ = try bench.journal.withdraw(id, reason: "无", clocks: bench.now)
        }
        // But it may remark.
        #expect(try bench.journal.note(id, text: "看过", clocks: bench.now).text == "看过")
    }

    @Test func notesAreChecked() throws {
        let bench = try Bench()
        let id = try bench.add()
        try expectUnchanged(bench, .invalid(field: .text, reason: "empty")) {
            _ = try bench.journal.note(id, text: "", clocks: bench.now)
        }
        let nowhere = Bench.strangersNeed(9)
        try expectUnchanged(bench, .notFound(nowhere.description)) {
            _ = try bench.journal.note(nowhere, text: "x", clocks: bench.now)
        }
    }

    @Test func withdrawnNeedsAreHiddenAndComeBack() throws {
        let bench = try Bench()
        let id = try bench.add()
        try expectUnchanged(bench, .invalid(field: .withdrawal, reason: "without a reason")) {
            _ = try bench.journal.withdraw(id, reason: " ", clocks: bench.now)
        }
        try expectUnchanged(bench, .wrongState(status: .recorded, action: .undo)) {
            _ = try bench.journal.undoWithdrawal(id, clocks: bench.now)
        }
        let need = try bench.journal.withdraw(id, reason: "重复", clocks: bench.now)
        #expect(need.status == .withdrawn)
        #expect(need.withdrawalReason == "重复")
        #expect(try bench.journal.needs().isEmpty)
        #expect(try bench.journal.needs(includingWithdrawn: true).count == 1)
        try expectUnchanged(bench, .wrongState(status: .withdrawn, action: .withdraw)) {
            _ = try bench.journal.withdraw(id, reason: "再", clocks: bench.now)
        }
        try expectUnchanged(bench, .wrongState(status: .withdrawn, action: .edit)) {
            _ = try bench.journal.editNeed(id, [FieldEdit(.phone, .text("1"))], clocks: bench.now)
        }
        #expect(try bench.journal.undoWithdrawal(id, clocks: bench.now).status == .recorded)
        #expect(try bench.journal.needs().count == 1)
    }

    // MARK: The loop

    /// A need with the current order 5 to team T1, and an answer to it.
    private func job(
        _ bench: Bench, _ verdict: FieldValue.Verdict?, team: String = "T1"
    ) throws -> RecordID {
        var more: [NeedField: FieldValue] = [
            .dispatch: .dispatch(.init(order: 5, team: team, due: CivilDate("2026-05-01")))
        ]
        if let verdict {
            more[.answer] = .answer(.init(order: 5, verdict: verdict, text: "话"))
        }
        try bench.pull([bench.need(number: 1, more)])
        return Bench.strangersNeed(1)
    }

    private func answer(
        _ bench: Bench, _ id: RecordID, _ action: JournalError.Action
    ) throws -> NeedSnapshot {
        switch action {
        case .accept: try bench.journal.accept(id, clocks: bench.now)
        case .decline: try bench.journal.decline(id, reason: "人手不够", clocks: bench.now)
        case .start: try bench.journal.start(id, clocks: bench.now)
        default: try bench.journal.finish(id, result: "已修好", clocks: bench.now)
        }
    }

    @Test(
        arguments: [
            (nil, [JournalError.Action.accept, .decline]), (.declined, [.accept]),
            (.accepted, [.decline, .start, .finish]), (.started, [.decline, .finish]),
            (.finished, []),
        ] as [(FieldValue.Verdict?, [JournalError.Action])])
    func aTeamAnswersInOrder(
        verdict: FieldValue.Verdict?, allowed: [JournalError.Action]
    ) throws {
        for action in [JournalError.Action.accept, .decline, .start, .finish] {
            let bench = try Bench(role: .team, team: "T1")
            let id = try job(bench, verdict)
            let status = try bench.shown(id).status
            guard allowed.contains(action) else {
                try expectUnchanged(bench, .wrongState(status: status, action: action)) {
                    _ = try answer(bench, id, action)
                }
                continue
            }
            let need = try answer(bench, id, action)
            let expected: NeedStatus =
                switch action {
                case .accept: .accepted
                case .decline: .declined
                case .start: .started
                default: .finished
                }
            #expect(need.status == expected)
            #expect(need.answer?.order == 5)
            #expect(need.answerVersion?.isPending == true)
        }
    }

    @Test func aDeclineSaysWhy() throws {
        let bench = try Bench(role: .team, team: "T1")
        let id = try job(bench, nil)
        try expectUnchanged(bench, .invalid(field: .answer, reason: "without a reason")) {
            _ = try bench.journal.decline(id, reason: "  ", clocks: bench.now)
        }
    }

    @Test func anotherTeamsJobIsNotAnswered() throws {
        let bench = try Bench(role: .team, team: "T1")
        let id = try job(bench, nil, team: "T2")
        try expectUnchanged(bench, .notYourJob) {
            _ = try bench.journal.accept(id, clocks: bench.now)
        }
        #expect(try bench.journal.jobs().isEmpty)
    }

    @Test func aWorkerAnswersNothing() throws {
        let bench = try Bench()
        let id = try job(bench, nil)
        try expectUnchanged(bench, .notAllowed(role: .worker, action: .accept)) {
            _ = try bench.journal.accept(id, clocks: bench.now)
        }
    }

    @Test func anOfficeDispatchesUnderANewOrderEachTime() throws {
        let bench = try Bench(role: .office)
        let id = try bench.add()
        let due = CivilDate("2026-12-01")
        let first = try bench.journal.dispatch(id, team: "T1", due: due, clocks: bench.now)
        #expect(first.status == .dispatched)
        #expect(first.dispatch?.team == "T1")
        #expect(first.dispatch?.due == due)
        _ = try bench.journal.accept(id, clocks: bench.now)
        let second = try bench.journal.dispatch(id, team: "T2", clocks: bench.now)
        // The answer to the first order counts no more.
        #expect(second.status == .dispatched)
        #expect(second.dispatch?.order != first.dispatch?.order)
        #expect(second.dispatch?.due == nil)
        try expectUnchanged(bench, .unknownTeam("T9")) {
            _ = try bench.journal.dispatch(id, team: "T9", clocks: bench.now)
        }
    }

    @Test func onlyAnOfficeDispatches() throws {
        let bench = try Bench()
        let id = try bench.add()
        try expectUnchanged(bench, .notAllowed(role: .worker, action: .dispatch)) {
            _ = try bench.journal.dispatch(id, team: "T1", clocks: bench.now)
        }
    }

    @Test func whatIsFinishedIsNotDispatched() throws {
        let bench = try Bench(role: .office)
        let id = try job(bench, .finished)
        try expectUnchanged(bench, .wrongState(status: .finished, action: .dispatch)) {
            _ = try bench.journal.dispatch(id, team: "T2", clocks: bench.now)
        }
    }

    @Test func aGradeComesAfterTheFinish() throws {
        let bench = try Bench()
        let early = try job(bench, .started)
        try expectUnchanged(bench, .wrongState(status: .started, action: .rate)) {
            _ = try bench.journal.rate(early, grade: 5, clocks: bench.now)
        }
        let id = try job(bench, .finished)
        for grade in [0, 6, -1] {
            try expectUnchanged(bench, .invalid(field: .rating, reason: "not 1 to 5")) {
                _ = try bench.journal.rate(id, grade: grade, clocks: bench.now)
            }
        }
        let need = try bench.journal.rate(id, grade: 4, comment: "满意", clocks: bench.now)
        #expect(need.status == .rated)
        #expect(need.rating == .init(order: 5, grade: 4, comment: "满意"))
        #expect(try bench.journal.rate(id, grade: 5, clocks: bench.now).rating?.grade == 5)
    }

    @Test func overdueIsJudgedByTheDayGiven() throws {
        let bench = try Bench()
        let id = try job(bench, nil)
        let need = try bench.shown(id)
        #expect(try !need.isOverdue(today: #require(CivilDate("2026-05-01"))))
        #expect(try need.isOverdue(today: #require(CivilDate("2026-05-02"))))
    }

    // MARK: What people type

    @Test func valuesAreReadAsTyped() throws {
        let bench = try Bench()
        func value(_ field: NeedField, _ text: String) throws -> FieldValue? {
            try bench.journal.value(of: field, from: text)
        }
        #expect(try value(.text, "路灯") == .text("路灯"))
        #expect(try value(.phone, "") == nil)
        #expect(try value(.urgency, "3") == .integer(3))
        #expect(try value(.grid, "G1") == .text("G1"))
        #expect(try value(.grid, "第二网格") == .text("G2"))
        #expect(try value(.grid, "第一") == .text("G1"))
        #expect(try value(.category, "路灯") == .text("lighting"))
        #expect(
            try value(.location, "40.75, 107.38")
                == .location(latitude: 40_750_000, longitude: 107_380_000))
        expect(.ambiguousName("网格", codes: ["G1", "G2"])) { try value(.grid, "网格") }
        expect(.unknownGrid("无")) { try value(.grid, "无") }
        expect(.invalid(field: .urgency, reason: "not a number")) { try value(.urgency, "急") }
        for text in ["40.75", "91,0", "0,181", "a,b", "1,2,3", "nan,0"] {
            expect(.invalid(field: .location, reason: "not LAT,LON in degrees")) {
                try value(.location, text)
            }
        }
        expect(.invalid(field: .dispatch, reason: "not set this way")) {
            try value(.dispatch, "T1")
        }
    }

    @Test func compositeValuesKeepWhatIsNotTyped() throws {
        let bench = try Bench()
        let order = FieldValue.dispatch(.init(order: 5, team: "T1", due: nil))
        #expect(
            try bench.journal.value(of: .dispatch, from: "医疗队,2026-01-31", original: order)
                == .dispatch(.init(order: 5, team: "T2", due: CivilDate("2026-01-31"))))
        expect(.invalid(field: .dispatch, reason: "not a date YYYY-MM-DD")) {
            try bench.journal.value(of: .dispatch, from: "T1,2026-02-30", original: order)
        }
        expect(.unknownTeam("")) {
            try bench.journal.value(of: .dispatch, from: ",", original: order)
        }
        let rating = FieldValue.rating(.init(order: 5, grade: 1, comment: "差"))
        #expect(
            try bench.journal.value(of: .rating, from: "5", original: rating)
                == .rating(.init(order: 5, grade: 5, comment: "差")))
    }

    @Test func referenceDataIsRead() throws {
        let bench = try Bench()
        #expect(try bench.journal.territories().map(\.code) == ["B1", "G1", "G2", "V1"])
        #expect(
            try bench.journal.territoryTree().pathUp(from: "G1").map(\.code) == [
                "G1", "V1", "B1",
            ])
        #expect(try bench.journal.ownGrids().map(\.code) == ["G1"])
        #expect(try bench.journal.teams().map(\.name) == ["水电队", "医疗队"])
        #expect(try bench.journal.teams().map(\.territory) == ["V1", "V1"])
        #expect(try bench.journal.categories().map(\.code) == ["lighting"])
    }

    @Test func statusCountsWhatWaits() throws {
        let bench = try Bench()
        let id = try bench.add()
        _ = try bench.journal.editNeed(id, [FieldEdit(.phone, .text("1"))], clocks: bench.now)
        let status = try bench.journal.status()
        #expect(status.identity?.name == "网格员一")
        #expect(status.identity?.offsetMinutes == 480)
        #expect(status.waitingGroups == 2)
        #expect(status.waitingChanges == 3)
        #expect(status.needs == 1)
        #expect(status.conflicts == 0)
        #expect(status.refused == 0)
        #expect(status.lastSyncMilliseconds != nil)
        try bench.sync()
        #expect(try bench.journal.status().waitingChanges == 0)
    }

    /// Errors end up in logs and bug reports.
    @Test func errorsHoldNoResidentsData() throws {
        let bench = try Bench()
        let id = try bench.add("王桂英家")
        let secret = String(repeating: "密", count: 100)
        let error = try #require(throws: JournalError.self) {
            try bench.journal.editNeed(
                id, [FieldEdit(.phone, .text(secret))], clocks: bench.now)
        }
        #expect(!"\(error)\(error.hint)".contains("密"))
    }
}
