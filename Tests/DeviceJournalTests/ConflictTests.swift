import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import DeviceJournal

@Suite struct ConflictTests {
    private let id = Bench.strangersNeed(1)

    /// A need whose text has several live versions, newest first.
    private func disputed(
        _ bench: Bench, _ values: [String?], field: NeedField = .text
    ) throws {
        var record = bench.need("x", number: 1)
        record.fields.removeAll { $0.field == field.rawValue }
        let versions = values.reversed().map { bench.version($0.map { Array($0.utf8) }) }
        record.fields.append(
            PageRecord.Field(field: field.rawValue, versions: versions.reversed()))
        record.fields.sort { $0.field < $1.field }
        try bench.pull([record])
    }

    @Test func versionsAreNumberedNewestFirst() throws {
        let bench = try Bench()
        try disputed(bench, ["新", "中", "旧"])
        let conflict = try #require(try bench.shown(id).conflicts.first)
        #expect(conflict.field == .text)
        #expect(!conflict.isContestedWithdrawal)
        #expect(conflict.versions.map(\.number) == [1, 2, 3])
        #expect(conflict.versions.map(\.value) == [.text("新"), .text("中"), .text("旧")])
        #expect(conflict.versions.map(\.isShown) == [true, false, false])
        #expect(conflict.versions.allSatisfy { $0.version.writer == "别人" })
        #expect(try bench.journal.needsInConflict().map(\.id) == [id])
        #expect(try bench.journal.status().conflicts == 1)
    }

    @Test func equalValuesAreNoConflict() throws {
        let bench = try Bench()
        try disputed(bench, ["同", "同"])
        #expect(try bench.shown(id).conflicts.isEmpty)
    }

    @Test(arguments: [
        (Keep.shown, "新"), (.other, "旧"), (.number(1), "新"), (.number(2), "旧"),
        (.value(.text("合并")), "合并"),
    ])
    func settlingAlwaysWritesAChange(keep: Keep, expected: String) throws {
        let bench = try Bench()
        try disputed(bench, ["新", "旧"])
        let need = try bench.journal.settle(id, .text, keep: keep, clocks: bench.now)
        #expect(need.text == expected)
        #expect(need.conflicts.isEmpty)
        let group = try #require(try bench.request().groups.first)
        #expect(
            group.changes
                == [Change(field: NeedField.text.rawValue, value: Array(expected.utf8))])
        // Written in full sight of all versions.
        #expect(group.base == (try bench.request().cursor))
    }

    @Test func aClearedVersionCanBeKept() throws {
        let bench = try Bench()
        try disputed(bench, ["123", nil], field: .phone)
        let need = try bench.journal.settle(id, .phone, keep: .other, clocks: bench.now)
        #expect(need.phone == nil)
        #expect(need.conflicts.isEmpty)
    }

    @Test func unclearChoicesAreRefused() throws {
        let bench = try Bench()
        try disputed(bench, ["新", "中", "旧"])
        expect(.otherIsAmbiguous(count: 3)) {
            try bench.journal.settle(id, .text, keep: .other, clocks: bench.now)
        }
        expect(.noSuchVersion(number: 4, count: 3)) {
            try bench.journal.settle(id, .text, keep: .number(4), clocks: bench.now)
        }
        expect(.nothingToSettle(field: .phone)) {
            try bench.journal.settle(id, .phone, keep: .shown, clocks: bench.now)
        }
        expect(.invalid(field: .text, reason: "cannot be cleared")) {
            try bench.journal.settle(id, .text, keep: .value(nil), clocks: bench.now)
        }
        #expect(try bench.journal.waitingGroups() == 0)
    }

    @Test func whoMayNotWriteMayNotSettle() throws {
        let bench = try Bench(role: .team, team: "T1")
        try disputed(bench, ["新", "旧"])
        expect(.notAllowed(role: .team, action: .settle)) {
            try bench.journal.settle(id, .text, keep: .shown, clocks: bench.now)
        }
    }

    @Test func settlingAnOrderKeepsItsNumber() throws {
        let bench = try Bench(role: .office)
        let orders = [5, 6].map {
            FieldValue.dispatch(.init(order: $0, team: "T\($0 - 4)", due: nil))
        }
        var record = bench.need("x", number: 1)
        let older = bench.version(orders[1].bytes)
        record.fields.append(
            PageRecord.Field(
                field: NeedField.dispatch.rawValue,
                versions: [bench.version(orders[0].bytes), older]))
        try bench.pull([record])
        let need = try bench.journal.settle(id, .dispatch, keep: .other, clocks: bench.now)
        #expect(need.dispatch?.order == 6)
        #expect(need.dispatch?.team == "T2")
    }

    // MARK: Contested withdrawals

    private func contested(_ bench: Bench) throws {
        var record = bench.need(
            "改过", number: 1, [.withdrawal: .withdrawal(reason: "重复"), .phone: .text("1")])
        record.contested = [NeedField.text.rawValue]
        try bench.pull([record])
    }

    @Test func aContestedWithdrawalShowsBothSides() throws {
        let bench = try Bench()
        try contested(bench)
        #expect(try bench.journal.needs().isEmpty)
        let need = try #require(try bench.journal.needsInConflict().first)
        #expect(need.isWithdrawn)
        let conflict = try #require(need.conflicts.first)
        #expect(conflict.field == .withdrawal)
        #expect(conflict.isContestedWithdrawal)
        #expect(Set(conflict.versions.map(\.field)) == [.withdrawal, .text])
        #expect(conflict.versions.filter(\.isShown).map(\.field) == [.withdrawal])
    }

    /// Whoever withdraws a need has seen what they wrote on it themselves, however new that is.
    @Test func aWithdrawalIsNotContestedByItsOwnWriter() throws {
        let bench = try Bench()
        let office = ReplicaID(truncating: 0xB0B)
        var record = bench.need("原来", number: 1)
        func field(_ field: NeedField, _ versions: [PageRecord.Version]) {
            record.fields.removeAll { $0.field == field.rawValue }
            record.fields.append(PageRecord.Field(field: field.rawValue, versions: versions))
            record.fields.sort { $0.field < $1.field }
        }
        let worker = bench.version(Array("1".utf8))
        let ofOffice = bench.version(Array("2".utf8), by: office, counter: 7)
        let delete = bench.version(
            FieldValue.withdrawal(reason: "重复").bytes, by: office, counter: 8)
        field(.phone, [ofOffice, worker])
        field(.withdrawal, [delete])
        record.contested = [NeedField.phone.rawValue]
        try bench.pull([record])
        let conflicts = try bench.journal.needsInConflict().flatMap(\.conflicts)
        let conflict = try #require(conflicts.first { $0.field == .withdrawal })
        #expect(conflict.versions.filter { $0.field == .phone }.map(\.value) == [.text("1")])
    }

    @Test func keepingTheWithdrawalWritesItAgain() throws {
        let bench = try Bench()
        try contested(bench)
        let need = try bench.journal.settle(id, .withdrawal, keep: .shown, clocks: bench.now)
        #expect(need.isWithdrawn)
        #expect(need.withdrawalReason == "重复")
        #expect(need.conflicts.isEmpty)
    }

    @Test func keepingTheEditBringsTheNeedBack() throws {
        let bench = try Bench()
        try contested(bench)
        let need = try bench.journal.settle(id, .withdrawal, keep: .other, clocks: bench.now)
        #expect(!need.isWithdrawn)
        #expect(need.text == "改过")
        #expect(need.conflicts.isEmpty)
    }

    @Test func anOwnEditThatHadNotSeenTheDeleteContestsIt() throws {
        let bench = try Bench()
        try bench.pull([bench.need("原来", number: 1)])
        _ = try bench.journal.editNeed(id, [FieldEdit(.phone, .text("1"))], clocks: bench.now)
        let delete = FieldValue.withdrawal(reason: "重复").bytes
        try bench.absorb(
            bench.request(),
            page: bench.lastPage([
                bench.page(id, [NeedField.withdrawal.rawValue: delete], whole: false)
            ]))
        let need = try bench.shown(id)
        #expect(need.isWithdrawn)
        #expect(need.conflicts.first?.isContestedWithdrawal == true)
        #expect(need.record.contested == [NeedField.phone.rawValue])
    }

    @Test func anOwnDeleteThatHadNotSeenAnEditIsContestedByIt() throws {
        let bench = try Bench()
        try bench.pull([bench.need("原来", number: 1)])
        _ = try bench.journal.withdraw(id, reason: "重复", clocks: bench.now)
        #expect(try bench.shown(id).conflicts.isEmpty)
        try bench.absorb(
            bench.request(),
            page: bench.lastPage([
                bench.page(id, [NeedField.phone.rawValue: Array("1".utf8)], whole: false)
            ]))
        #expect(try bench.shown(id).record.contested == [NeedField.phone.rawValue])
    }

    @Test func newsNamesConflictsThatCameAndWent() throws {
        let bench = try Bench()
        try bench.pull([bench.need("原来", number: 1)])
        var record = bench.page(id, [NeedField.text.rawValue: Array("甲".utf8)], whole: false)
        record.fields[0].versions.append(bench.version(Array("乙".utf8)))
        #expect(try bench.pull([record]).news.newConflicts == [id])
        let settled = bench.page(id, [NeedField.text.rawValue: Array("丙".utf8)], whole: false)
        let news = try bench.pull([settled]).news
        #expect(news.settledConflicts == [id])
        #expect(news.changed == [id])
    }
}
