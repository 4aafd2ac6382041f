import ArgumentParser
import DeviceJournal
import NeedModel
import SyncCore
import TerminalUI

struct RefusedCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "refused",
        abstract: help("What the server refused; kept until you decide.", "服务器拒收的内容，由您决定去留。"),
        subcommands: [List.self, Show.self, Retry.self, Drop.self])
}

extension RefusedGroup {
    fileprivate func reasonText(_ language: Language) -> String {
        let why =
            if isNotTakenBack {
                Phrase(
                    "this did not come back from the restored server",
                    "恢复后的服务器没有传回此内容")(language)
            } else if isDamaged {
                Phrase(
                    "damaged on this device; check what is left of it before you send it again",
                    "在本机已损坏；请核对尚可读出的部分，再决定是否提交")(language)
            } else {
                code?.phrase(language) ?? reason
            }
        guard let field, isNeed, let known = NeedField(rawValue: field) else { return why }
        return "\(known.phrase(language)): \(why)"
    }

    private var codeName: String {
        if isNotTakenBack { return "not-taken-back" }
        if isDamaged { return "damaged" }
        return code?.name ?? "\(codeNumber)"
    }

    fileprivate func json(_ screen: NeedScreen) -> JSONValue {
        .object([
            ("number", .integer(Int(number))),
            ("id", .string(record.description)),
            ("need", JSONValue(need?.description)),
            ("code", .string(codeName)),
            ("field", JSONValue(field.flatMap { NeedField(rawValue: $0)?.name })),
            ("reason", .string(reason)),
            ("written_at", screen.json(written)),
            ("refused_at", .string(screen.rfc3339(refusedMilliseconds))),
            (
                "changes",
                .object(
                    isNeed
                        ? changes.compactMap { change in
                            NeedField(rawValue: change.field).map {
                                ($0.name, screen.json(change.value, field: $0))
                            }
                        }
                        : changes.filter { $0.field == NoteField.text.rawValue }.map {
                            (
                                "text",
                                JSONValue(
                                    $0.value.flatMap {
                                        String(validating: $0, as: UTF8.self)
                                    })
                            )
                        })
            ),
        ])
    }
}

extension RefusedCommand {
    struct List: TerminalCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", _superCommandName: "waystation refused",
            abstract: help("What was refused, and why.", "被拒内容及原因。"))

        @Flag(help: jsonHelp) var json = false
        @Flag(help: noInputHelp) var noInput = false
        @Option(help: languageHelp) var language: String?

        func run() throws {
            try perform { surroundings in
                let journal = try surroundings.openJournal()
                let screen = try NeedScreen(surroundings, journal)
                let groups = try journal.refused()
                if json {
                    surroundings.console.out(
                        ["refused": .array(groups.map { $0.json(screen) })], isPretty: true)
                    return
                }
                let language = surroundings.language
                guard !groups.isEmpty else {
                    surroundings.console.note(
                        "\(Phrase("nothing was refused", "没有被拒内容"), language)")
                    return
                }
                var table = Table([
                    .init(Phrase("no.", "序号")(language), alignment: .right),
                    .init(Phrase("need", "需求")(language)),
                    .init(Phrase("written", "填写时间")(language)),
                    .init(Phrase("why", "原因")(language), isFlexible: true),
                ])
                for group in groups {
                    table.append([
                        .init("\(group.number)", .bold),
                        .init(group.need.map(screen.shortID) ?? ""),
                        .init(screen.time(group.written), .dim),
                        .init(group.reasonText(language)),
                    ])
                }
                surroundings.console.out(table)
            }
        }
    }

    struct Show: TerminalCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", _superCommandName: "waystation refused",
            abstract: help("One refused command.", "一项被拒内容。"))

        @Argument(help: ArgumentHelp(help("Its number, or its need's id.", "序号或需求编号。")))
        var id: String
        @Flag(help: jsonHelp) var json = false
        @Flag(help: noInputHelp) var noInput = false
        @Option(help: languageHelp) var language: String?

        func run() throws {
            try perform { surroundings in
                let journal = try surroundings.openJournal()
                let screen = try NeedScreen(surroundings, journal)
                let group = try journal.refused(matching: id)
                if json {
                    surroundings.console.out(group.json(screen), isPretty: true)
                    return
                }
                let language = surroundings.language
                surroundings.console.out(
                    "\("\(group.number)", .bold)  \(group.reasonText(language), .red)  (\(group.reason))"
                )
                for change in group.changes {
                    if group.isNeed, let field = NeedField(rawValue: change.field) {
                        surroundings.console.out(
                            "  \(field.name) = \(screen.text(of: change.value, field: field))")
                    } else if change.field == NoteField.text.rawValue {
                        let text =
                            change.value.flatMap { String(validating: $0, as: UTF8.self) } ?? ""
                        surroundings.console.out(
                            "  \(Phrase("note", "备注"), language): \(text)")
                    }
                }
            }
        }
    }

    struct Retry: TerminalCommand {
        static let configuration = CommandConfiguration(
            commandName: "retry", _superCommandName: "waystation refused",
            abstract: help("Send it again, perhaps changed.", "修改后重新提交。"))

        @Argument(help: ArgumentHelp(help("Its number, or its need's id.", "序号或需求编号。")))
        var id: String
        @Argument(
            help: ArgumentHelp(help("Values to replace.", "要替换的内容。"), valueName: "field=value"))
        var changes: [String] = []
        @Flag(help: noInputHelp) var noInput = false
        @Option(help: languageHelp) var language: String?

        func run() throws {
            try perform { surroundings in
                let journal = try surroundings.openJournal()
                let group = try journal.refused(matching: id)
                let count = try journal.retry(
                    group.number,
                    replacing: changes.isEmpty
                        ? []
                        : FieldAssignment.edits(changes, journal: journal) { group.value(of: $0) },
                    clocks: surroundings.clocks())
                surroundings.console.out(
                    "\(Phrase("waiting to be sent again: \(count)", "等待重新上传：\(count) 项"), surroundings.language)"
                )
            }
        }
    }

    struct Drop: TerminalCommand {
        static let configuration = CommandConfiguration(
            commandName: "drop", _superCommandName: "waystation refused",
            abstract: help("Forget it for good.", "永久放弃。"))

        @Argument(help: ArgumentHelp(help("Its number, or its need's id.", "序号或需求编号。")))
        var id: String
        @Flag(help: noInputHelp) var noInput = false
        @Option(help: languageHelp) var language: String?

        func run() throws {
            try perform { surroundings in
                let journal = try surroundings.openJournal()
                let group = try journal.refused(matching: id)
                try journal.drop(group.number)
                surroundings.console.out(
                    "\(Phrase("dropped", "已放弃"), surroundings.language) \("\(group.number)", .bold)"
                )
            }
        }
    }
}
