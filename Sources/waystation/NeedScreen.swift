import DeviceJournal
import NeedModel
import SyncCore
import TerminalUI

/// Needs as people see them: tables, sheets and JSON, with the names behind the codes.
struct NeedScreen {
    let surroundings: Surroundings
    let journal: Journal
    let identity: Identity
    private let shortIDs: [RecordID: String]
    private let gridNames: [String: String]
    private let teamNames: [String: String]
    private let categoryNames: [String: String]
    let today: CivilDate
    private let now: Int64

    /// - Parameter id: The only need that will be shown, where there is one.
    init(_ surroundings: Surroundings, _ journal: Journal, naming id: RecordID? = nil) throws {
        self.surroundings = surroundings
        self.journal = journal
        guard let identity = try journal.identity() else { throw JournalError.notEnrolled }
        self.identity = identity
        shortIDs = try id.map { [$0: try journal.shortID(of: $0)] } ?? journal.shortIDs()
        gridNames = Dictionary(
            try journal.territories().map { ($0.code, $0.name) }, uniquingKeysWith: { $1 })
        teamNames = Dictionary(
            try journal.teams().map { ($0.code, $0.name) }, uniquingKeysWith: { $1 })
        categoryNames = Dictionary(
            try journal.categories().map { ($0.code, $0.name) }, uniquingKeysWith: { $1 })
        now = try journal.approximateNow(surroundings.clocks())
        today = CivilDate(milliseconds: now, offsetMinutes: identity.offsetMinutes)
    }

    private var language: Language { surroundings.language }

    func shortID(_ id: RecordID) -> String { shortIDs[id] ?? String(id.digits.suffix(8)) }

    func gridName(_ code: String) -> String { gridNames[code] ?? code }

    func teamName(_ code: String) -> String { teamNames[code] ?? code }

    func categoryName(_ code: String) -> String { categoryNames[code] ?? code }

    /// A time in the banner's zone; `≈` until the hub has stamped it.
    func time(_ time: ShownTime) -> String {
        (time.isApproximate ? "≈" : "")
            + CivilTime.short(
                milliseconds: time.milliseconds, offsetMinutes: identity.offsetMinutes)
    }

    /// On a terminal how long ago, in a pipe the time itself.
    func age(_ time: ShownTime) -> String {
        guard surroundings.console.isOutputTerminal else {
            return (time.isApproximate ? "≈" : "") + rfc3339(time.milliseconds)
        }
        return (time.isApproximate ? "≈" : "")
            + CivilTime.relative(milliseconds: time.milliseconds, now: now, language: language)
    }

    func rfc3339(_ milliseconds: Int64) -> String {
        CivilTime.rfc3339(milliseconds: milliseconds, offsetMinutes: identity.offsetMinutes)
    }

    // MARK: Lists

    private func marks(_ need: NeedSnapshot) -> String {
        (need.isNew ? "+" : "") + (need.isOverdue(today: today) ? "!" : "")
            + (need.conflicts.isEmpty ? "" : "#") + (need.isWaiting ? "*" : "")
    }

    private func tellMarks(_ needs: [NeedSnapshot]) {
        let used = Set(needs.map(marks).joined())
        let meanings: [(Character, Phrase)] = [
            ("+", Phrase("new", "新任务")), ("!", Phrase("overdue", "已超期")),
            ("#", Phrase("in conflict", "有冲突")), ("*", Phrase("not yet sent", "未上传")),
        ]
        let told = meanings.filter { used.contains($0.0) }
            .map { "\($0.0) \($0.1(language))" }
        if !told.isEmpty { surroundings.console.note("\(told.joined(separator: "  "), .dim)") }
    }

    func show(needs: [NeedSnapshot]) {
        guard !needs.isEmpty else {
            surroundings.console.note(
                "\(Phrase("no needs to show", "没有符合条件的需求"), language)")
            return
        }
        var table = Table([
            .init(Phrase("ID", "编号")(language)), .init(""),
            .init(Phrase("status", "状态")(language)),
            .init(Phrase("category", "类别")(language), columnsMax: 16, isFlexible: true),
            .init(Phrase("grid", "网格")(language), columnsMax: 20, isFlexible: true),
            .init(Phrase("recorded", "记录时间")(language)),
            .init(Phrase("need", "需求")(language), isFlexible: true),
        ])
        for need in needs {
            table.append([
                .init(shortID(need.id), .bold), .init(marks(need), .yellow),
                .init(need.status.phrase(language), style(of: need)),
                .init(need.category.map(categoryName) ?? ""),
                .init(need.grid.map(gridName) ?? ""), .init(age(need.created), .dim),
                .init(need.text),
            ])
        }
        surroundings.console.out(table)
        tellMarks(needs)
    }

    func show(jobs: [NeedSnapshot]) {
        guard !jobs.isEmpty else {
            surroundings.console.note("\(Phrase("no jobs", "没有任务"), language)")
            return
        }
        var table = Table([
            .init(Phrase("ID", "编号")(language)), .init(""),
            .init(Phrase("due", "期限")(language)), .init(Phrase("status", "状态")(language)),
            .init(Phrase("need", "需求")(language), isFlexible: true),
            .init(Phrase("address", "地址")(language), isFlexible: true),
            .init(Phrase("phone", "电话")(language)),
        ])
        for job in jobs {
            table.append([
                .init(shortID(job.id), .bold), .init(marks(job), .yellow),
                .init(
                    job.dispatch?.due?.description ?? "",
                    job.isOverdue(today: today) ? .red : .plain),
                .init(job.status.phrase(language), style(of: job)), .init(job.text),
                .init(job.address ?? job.grid.map(gridName) ?? ""), .init(job.phone ?? ""),
            ])
        }
        surroundings.console.out(table)
        tellMarks(jobs)
    }

    private func style(of need: NeedSnapshot) -> Style {
        switch need.status {
        case .recorded, .dispatched: .yellow
        case .declined: .red
        case .accepted, .started: .cyan
        case .finished, .rated: .green
        case .withdrawn: .dim
        }
    }

    // MARK: One need

    func show(_ need: NeedSnapshot, notes: [NoteSnapshot], history: [HistoryLine]?) {
        let console = surroundings.console
        func line(_ label: Phrase, _ value: String?, _ style: Style = .plain) {
            guard let value, !value.isEmpty else { return }
            console.out(
                "\(label(language).pad(toWidth: 12), .dim)  " + StyledText(value, style))
        }
        console.out(
            "\(need.text, .bold)")
        line(Phrase("id", "编号"), need.id.description)
        line(Phrase("status", "状态"), need.status.phrase(language), style(of: need))
        line(Phrase("recorded", "记录"), time(need.created) + (need.creator.map { "  \($0)" } ?? ""))
        line(NeedField.category.phrase, need.category.map(categoryName))
        line(NeedField.grid.phrase, need.grid.map { "\(gridName($0)) (\($0))" })
        line(NeedField.resident.phrase, need.resident)
        line(NeedField.phone.phrase, need.phone)
        line(NeedField.address.phrase, need.address)
        line(NeedField.urgency.phrase, need.urgency.map(String.init))
        line(
            NeedField.location.phrase,
            need.location.map { text(of: .location(latitude: $0, longitude: $1)) })
        line(NeedField.dispatch.phrase, need.value(.dispatch).map(text))
        if let answer = need.answer {
            line(
                NeedField.answer.phrase,
                text(of: .answer(answer))
                    + (need.answerVersion.map { "  \(time($0.time))" } ?? ""))
        }
        line(NeedField.rating.phrase, need.rating.map { text(of: .rating($0)) })
        line(NeedField.withdrawal.phrase, need.withdrawalReason)
        if need.isOverdue(today: today) {
            line(Phrase("overdue", "超期"), Phrase("yes", "是")(language), .red)
        }
        if need.isWaiting {
            line(Phrase("sent", "上传"), Phrase("not yet", "尚未")(language), .yellow)
        }
        for conflict in need.conflicts {
            line(
                Phrase("conflict", "冲突"),
                "\(conflict.field.phrase(language))" + Phrase(": ", "：")(language)
                    + Phrase(
                        "see conflict show \(shortID(need.id))",
                        "见 conflict show \(shortID(need.id))")(language), .red)
        }
        for note in notes {
            line(
                Phrase("note", "备注"),
                "\(note.text)  (\([note.creator, time(note.created)].compactMap { $0 }.joined(separator: ", ")))"
            )
        }
        if let history { show(history) }
    }

    private func show(_ history: [HistoryLine]) {
        var table = Table([
            .init(Phrase("seq", "序号")(language), alignment: .right),
            .init(Phrase("time", "时间")(language)), .init(Phrase("by", "填写人")(language)),
            .init(Phrase("field", "字段")(language)), .init(""),
            .init(Phrase("value", "内容")(language), isFlexible: true),
            .init(Phrase("vector clock", "向量时钟")(language)),
        ])
        for entry in history {
            table.append([
                .init(entry.sequence == 0 ? "" : String(entry.sequence)),
                .init(time(entry.time)),
                .init(writer(entry.writer)),
                .init(entry.field?.phrase(language) ?? "\(entry.fieldNumber)"),
                .init(entry.isWinner ? "=" : entry.isLive ? "#" : "", .yellow),
                .init(entry.field.map { text(of: entry.value, field: $0) } ?? "?"),
                .init(clockText(entry.clock), .dim),
            ])
        }
        surroundings.console.out("")
        surroundings.console.out(table)
        surroundings.console.note(
            "\(Phrase("= shown  # another live version", "= 当前显示  # 另一有效版本")(language), .dim)")
    }

    private func clockText(_ clock: VectorClock) -> String {
        clock.entries.map { "\(String($0.replica.description.prefix(4))):\($0.counter)" }
            .joined(separator: " ")
    }

    func writer(_ name: String?) -> String {
        guard let name, !name.isEmpty else { return Phrase("server", "服务器")(language) }
        return name
    }

    // MARK: Values

    func text(of bytes: [UInt8]?, field: NeedField) -> String {
        guard let bytes else { return Phrase("(cleared)", "（已清空）")(language) }
        guard let rule = FieldRule.rule(kind: .need, field: field.rawValue),
            let value = FieldValue(rule.form, bytes: bytes)
        else { return "?" }
        if case .text(let code) = value {
            if field == .grid { return gridName(code) }
            if field == .category { return categoryName(code) }
        }
        return text(of: value)
    }

    func text(of value: FieldValue) -> String {
        switch value {
        case .text(let text), .withdrawal(let text): return text
        case .integer(let number): return String(number)
        case .location(let latitude, let longitude):
            return "\(Double(latitude) / 1_000_000),\(Double(longitude) / 1_000_000)"
        case .record(let id): return shortID(id)
        case .dispatch(let dispatch):
            let due = dispatch.due.map {
                Phrase(", due \($0)", "，期限 \($0)")(language)
            }
            return teamName(dispatch.team) + (due ?? "")
        case .answer(let answer):
            return answer.verdict.phrase(language)
                + (answer.text.isEmpty ? "" : Phrase(": ", "：")(language) + answer.text)
        case .rating(let rating):
            return "\(rating.grade)/5"
                + (rating.comment.isEmpty ? "" : Phrase(": ", "：")(language) + rating.comment)
        }
    }
}
