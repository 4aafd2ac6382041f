import ArgumentParser
import HubLedger
import NeedModel
import SyncCore
import TerminalUI

struct NeedCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "need", abstract: "Look at the needs.", subcommands: [ListCommand.self])

    struct ListCommand: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "List the needs.",
            discussion: """
                --json prints an array of objects: id, status (recorded, dispatched, declined, \
                accepted, started, finished, rated, withdrawn), overdue, text, category (or null), \
                grid, created (RFC 3339), recorded_by, team and due (YYYY-MM-DD) of the current \
                order (or null), grade (1 to 5, or null), conflicts (names of fields).
                """)

        @OptionGroup var common: CommonOptions

        @Flag(help: "Print JSON.")
        var json = false

        func run() async throws {
            try await common.run { program in
                let ledger = try program.openLedger()
                let offset = try ledger.info().offsetMinutes
                let needs = try ledger.needs()
                if json {
                    program.console.out(
                        .array(needs.map { Self.json($0, offset: offset) }), isPretty: true)
                } else {
                    program.console.out(Self.table(needs, offset: offset, program: program))
                }
            }
        }

        private static func table(
            _ needs: [NeedReport], offset: Int, program: Program
        ) -> Table {
            let language = program.language
            var table = Table([
                .init(Phrase("ID", "编号")(language)),
                .init(Phrase("STATUS", "状态")(language)),
                .init(Phrase("DUE", "期限")(language)),
                .init(Phrase("TEAM", "队伍")(language)),
                .init(Phrase("GRID", "网格")(language)),
                .init(Phrase("CATEGORY", "类别")(language)),
                .init(Phrase("NEED", "需求")(language), isFlexible: true),
                .init(Phrase("RECORDED", "记录")(language)),
                .init(Phrase("BY", "记录人")(language), isFlexible: true),
            ])
            let shortIDs = ShortIDs(needs.map(\.id))
            for need in needs {
                let status = need.progress.status.phrase(language)
                let conflict = Phrase(" (conflict)", "（冲突）")(language)
                table.append([
                    .init(shortIDs[need.id], .bold),
                    .init(
                        status + (need.conflictingFields.isEmpty ? "" : conflict),
                        need.conflictingFields.isEmpty ? .plain : .yellow),
                    .init(
                        need.progress.dispatch?.due?.description ?? "",
                        need.isOverdue ? .red : .plain),
                    .init(need.progress.dispatch?.team ?? ""), .init(need.grid),
                    .init(need.category ?? ""), .init(need.text),
                    .init(program.time(need.createdMilliseconds, offsetMinutes: offset)),
                    .init(need.creator),
                ])
            }
            return table
        }

        private static func json(_ need: NeedReport, offset: Int) -> JSONValue {
            let dispatch = need.progress.dispatch
            return [
                "id": .string(need.id.description),
                "status": .string(need.progress.status.rawValue),
                "overdue": .bool(need.isOverdue),
                "text": .string(need.text),
                "category": need.category.map { .string($0) } ?? nil,
                "grid": .string(need.grid),
                "created": .string(
                    CivilTime.rfc3339(
                        milliseconds: need.createdMilliseconds, offsetMinutes: offset)),
                "recorded_by": .string(need.creator),
                "team": dispatch.map { .string($0.team) } ?? nil,
                "due": dispatch?.due.map { .string($0.description) } ?? nil,
                "grade": need.progress.rating.map { .integer($0.grade) } ?? nil,
                "conflicts": .array(need.conflictingFields.map { .string($0.name) }),
            ]
        }
    }
}

struct DispatchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dispatch", abstract: "Send a need to a team as a job.",
        discussion: "Again, to change the team or after a decline.")

    @OptionGroup var common: CommonOptions

    @Argument(help: "The need's id: at least four digits from its end or its beginning.")
    var id: String

    @Option(help: "The team's id.")
    var team: String

    @Option(help: "The day by which it should be done, as 2026-12-01.")
    var due: String?

    func run() async throws {
        try await common.run { program in
            var day: CivilDate?
            if let due {
                day = CivilDate(due)
                guard day != nil else {
                    throw CommandFailure(
                        .usage, "--due: \(CivilDate.faultPhrase(program.language))",
                        hint: CivilDate.hintPhrase(program.language))
                }
            }
            let ledger = try program.openLedger()
            let need = try ledger.resolve(id)
            try ledger.dispatch(need, team: team, due: day)
            let words = Phrase("was dispatched to \(team)", "已派给 \(team)")
            program.console.note("\(need.description) \(words, program.language)")
        }
    }
}

struct ConflictCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "conflict", abstract: "Look at the open conflicts.",
        subcommands: [ListCommand.self])

    struct ListCommand: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "List the open conflicts, each with its versions.",
            discussion: """
                A device that may write the field settles a conflict. The first version is the one \
                that is shown. --json prints an array of objects: need, field, versions (writer, \
                time in RFC 3339, value as in the device's JSON; null when cleared), contested \
                (for a withdrawal: the fields whose edits it had not seen).
                """)

        @OptionGroup var common: CommonOptions

        @Flag(help: "Print JSON.")
        var json = false

        func run() async throws {
            try await common.run { program in
                let ledger = try program.openLedger()
                let offset = try ledger.info().offsetMinutes
                let conflicts = try ledger.conflicts()
                if json {
                    program.console.out(
                        .array(conflicts.map { Self.json($0, offset: offset) }), isPretty: true)
                } else {
                    program.console.out(
                        Self.table(
                            conflicts, shortIDs: ShortIDs(try ledger.needs().map(\.id)),
                            offset: offset, program: program))
                }
            }
        }

        private static func table(
            _ conflicts: [ConflictReport], shortIDs: ShortIDs, offset: Int, program: Program
        ) -> Table {
            let language = program.language
            var table = Table([
                .init(Phrase("NEED", "编号")(language)),
                .init(Phrase("FIELD", "字段")(language)),
                .init("", alignment: .right),
                .init(Phrase("VALUE", "内容")(language), isFlexible: true),
                .init(Phrase("BY", "填写人")(language), isFlexible: true),
                .init(Phrase("WRITTEN", "时间")(language)),
            ])
            for conflict in conflicts {
                for (index, version) in conflict.versions.enumerated() {
                    let value = ShownValue(field: conflict.field, bytes: version.value)
                    table.append([
                        index == 0 ? .init(shortIDs[conflict.record], .bold) : "",
                        index == 0 ? .init(conflict.field.phrase(language)) : "",
                        .init(String(index + 1)), .init(value.text(in: language)),
                        .init(version.writer),
                        .init(program.time(version.milliseconds, offsetMinutes: offset)),
                    ])
                }
                guard !conflict.contestedFields.isEmpty else { continue }
                let fields = conflict.contestedFields.map { $0.phrase(language) }
                let words = Phrase("had not seen the edit of ", "未见到以下字段的修改：")(language)
                table.append(["", "", "", .init(words + fields.joined(separator: ", ")), "", ""])
            }
            return table
        }

        private static func json(_ conflict: ConflictReport, offset: Int) -> JSONValue {
            [
                "need": .string(conflict.record.description),
                "field": .string(conflict.field.name),
                "versions": .array(
                    conflict.versions.map { version in
                        [
                            "writer": .string(version.writer),
                            "time": .string(
                                CivilTime.rfc3339(
                                    milliseconds: version.milliseconds, offsetMinutes: offset)),
                            "value": ShownValue(field: conflict.field, bytes: version.value).json,
                        ]
                    }),
                "contested": .array(conflict.contestedFields.map { .string($0.name) }),
            ]
        }
    }
}

struct CheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Look for damage in the ledger.",
        discussion: """
            Prints one line a finding and exits with 1 if there are any. What befell the ledger \
            without being damage, such as a restore, is told on standard error. --json prints an \
            object: sound, findings (an array of texts), sequence (the newest), needs, bytes, \
            events (kind: restored, device-ahead or record-altered, time, term, sequence, device \
            or null). Of a damaged ledger, sequence, needs and bytes are null if they cannot be read.
            """)

    @OptionGroup var common: CommonOptions

    @Flag(help: "Print JSON.")
    var json = false

    func run() async throws {
        try await common.run { program in
            var findings: [String] = []
            /// That something cannot be read is a finding, unless others have told it.
            func reading<R>(_ read: () throws -> R?) throws -> R? {
                do {
                    return try read()
                } catch {
                    if findings.isEmpty {
                        guard case LedgerError.damaged = error else { throw error }
                        findings.append("\(error)")
                    }
                    return nil
                }
            }
            let ledger = try reading { try program.openLedger() }
            if let ledger { findings = try ledger.check() }
            let events = try reading { try ledger?.events() } ?? []
            let offset = try reading { try ledger?.info().offsetMinutes } ?? 0
            if json {
                let figures = try reading { try ledger?.figures() }
                program.console.out(
                    [
                        "sound": .bool(findings.isEmpty),
                        "findings": .array(findings.map { .string($0) }),
                        "sequence": figures.map { .integer(Int(clamping: $0.head)) } ?? nil,
                        "needs": figures.map { .integer($0.needs) } ?? nil,
                        "bytes": figures.map { .integer(Int($0.bytes)) } ?? nil,
                        "events": .array(events.map { Self.json($0, offset: offset) }),
                    ], isPretty: true)
            } else {
                for finding in findings { program.console.out(StyledText(finding)) }
                for event in events {
                    let time = program.time(event.milliseconds, offsetMinutes: offset)
                    program.console.note("\(time, .dim)  \(Self.phrase(event), program.language)")
                }
            }
            guard findings.isEmpty else {
                throw CommandFailure(
                    .failed,
                    Phrase(
                        "the ledger is damaged; findings: \(findings.count)",
                        "账本有损坏，共 \(findings.count) 处")(program.language),
                    hint: Phrase(
                        "stop the server and restore the newest backup that restore finds sound; "
                            + "devices bring back what came later, and the damaged ledger is kept",
                        "请停止服务器，并用 restore 恢复最近一份完好的备份；此后的内容由各设备补回，"
                            + "损坏的账本会保留下来")(program.language))
            }
            if !json {
                program.console.note("\(Phrase("the ledger is sound", "账本完好"), program.language)")
            }
        }
    }

    private static func phrase(_ event: LedgerEvent) -> Phrase {
        switch event.kind {
        case .restored:
            Phrase(
                "restored from a backup that went up to sequence \(event.sequence)",
                "由截至序号 \(event.sequence) 的备份恢复")
        case .deviceAhead:
            Phrase(
                "device \(event.device ?? 0) was ahead of this ledger, which is an older copy; "
                    + "devices bring back what they hold",
                "设备 \(event.device ?? 0) 的进度超前，说明账本是较旧的副本；各设备会自动补回其保存的内容")
        case .recordAltered:
            Phrase(
                "the record that begins at sequence \(event.sequence) is not as it was admitted: "
                    + "the disk has altered it, and no device is sent it in place of its own",
                "始于序号 \(event.sequence) 的记录与接收时不符：磁盘已将其改动，不会用它替换设备上的内容")
        }
    }

    private static func json(_ event: LedgerEvent, offset: Int) -> JSONValue {
        [
            "kind": .string(event.kind.name),
            "time": .string(
                CivilTime.rfc3339(milliseconds: event.milliseconds, offsetMinutes: offset)),
            "term": .string(event.term.description),
            "sequence": .integer(Int(clamping: event.sequence)),
            "device": event.device.map { .integer(Int($0)) } ?? nil,
        ]
    }
}
