import ArgumentParser
import DeviceJournal
import NeedModel
import SyncCore
import TerminalUI

struct ConflictCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "conflict",
        abstract: help("Fields that two people changed at once.", "两人同时修改的字段。"),
        subcommands: [List.self, Show.self, Settle.self])
}

extension ConflictCommand {
    struct List: TerminalCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", _superCommandName: "waystation conflict",
            abstract: help("All open conflicts.", "所有未处理的冲突。"))

        @Flag(help: jsonHelp) var json = false
        @Flag(help: noInputHelp) var noInput = false
        @Option(help: languageHelp) var language: String?

        func run() throws {
            try perform { surroundings in
                let journal = try surroundings.openJournal()
                let screen = try NeedScreen(surroundings, journal)
                let needs = try journal.needsInConflict()
                if json {
                    surroundings.console.out(
                        ["conflicts": .array(needs.flatMap(\.conflicts).map(screen.json))],
                        isPretty: true)
                    return
                }
                guard !needs.isEmpty else {
                    surroundings.console.note(
                        "\(Phrase("no conflicts", "没有冲突"), surroundings.language)")
                    return
                }
                let language = surroundings.language
                var table = Table([
                    .init(Phrase("ID", "编号")(language)),
                    .init(Phrase("field", "字段")(language)),
                    .init(Phrase("shown", "当前显示")(language), isFlexible: true),
                    .init(Phrase("others", "其他版本")(language), isFlexible: true),
                ])
                for conflict in needs.flatMap(\.conflicts) {
                    func text(_ version: ConflictSnapshot.Version) -> String {
                        (version.field == conflict.field
                            ? "" : version.field.phrase(language) + "=")
                            + screen.text(of: version.version.value, field: version.field)
                    }
                    table.append([
                        .init(screen.shortID(conflict.need), .bold),
                        .init(conflict.field.name),
                        .init(conflict.versions.filter(\.isShown).map(text).joined()),
                        .init(
                            conflict.versions.filter { !$0.isShown }.map(text)
                                .joined(separator: " | "), .yellow),
                    ])
                }
                surroundings.console.out(table)
            }
        }
    }

    struct Show: TerminalCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", _superCommandName: "waystation conflict",
            abstract: help("The versions of a need's conflicts.", "一条需求的冲突版本。"))

        @Argument(help: ArgumentHelp(help("The need's id, or the end of it.", "需求编号或编号末几位。")))
        var id: String
        @Flag(help: jsonHelp) var json = false
        @Flag(help: noInputHelp) var noInput = false
        @Option(help: languageHelp) var language: String?

        func run() throws {
            try perform { surroundings in
                let journal = try surroundings.openJournal()
                let screen = try NeedScreen(surroundings, journal)
                let need = try journal.snapshot(of: journal.resolve(id))
                if json {
                    surroundings.console.out(
                        ["conflicts": .array(need.conflicts.map(screen.json))], isPretty: true)
                    return
                }
                let language = surroundings.language
                if need.conflicts.isEmpty {
                    surroundings.console.note("\(Phrase("no conflicts", "没有冲突"), language)")
                }
                for conflict in need.conflicts {
                    surroundings.console.out(
                        "\(screen.shortID(need.id), .bold)  \(conflict.field.name)  \(need.text)")
                    var table = Table([
                        .init("", alignment: .right), .init(""),
                        .init(Phrase("value", "内容")(language), isFlexible: true),
                        .init(Phrase("by", "填写人")(language)),
                        .init(Phrase("time", "时间")(language)),
                    ])
                    for version in conflict.versions {
                        let prefix =
                            version.field == conflict.field
                            ? "" : version.field.phrase(language) + " = "
                        table.append([
                            .init("\(version.number)", .bold),
                            .init(version.isShown ? "=" : "", .yellow),
                            .init(
                                prefix
                                    + screen.text(
                                        of: version.version.value, field: version.field)),
                            .init(screen.writer(version.version.writer)),
                            .init(screen.time(version.version.time), .dim),
                        ])
                    }
                    surroundings.console.out(table)
                    surroundings.console.note(
                        "\(Phrase("settle with: waystation conflict settle \(screen.shortID(need.id)) \(conflict.field.name) --keep N", "处理：waystation conflict settle \(screen.shortID(need.id)) \(conflict.field.name) --keep N"), language, .dim)"
                    )
                }
            }
        }
    }

    struct Settle: TerminalCommand {
        static let configuration = CommandConfiguration(
            commandName: "settle", _superCommandName: "waystation conflict",
            abstract: help("Decide a conflict.", "处理冲突。"))

        @Argument(help: ArgumentHelp(help("The need's id, or the end of it.", "需求编号或编号末几位。")))
        var id: String
        @Argument(help: ArgumentHelp(help("As conflict show names it.", "conflict show 中的字段名。")))
        var field: String
        @Option(
            help: ArgumentHelp(
                help("Which version stays.", "保留哪个版本。"), valueName: "shown|other|N"))
        var keep: String?
        @Option(help: ArgumentHelp(help("Another value instead.", "改为其他内容。")))
        var value: String?
        @Flag(help: noInputHelp) var noInput = false
        @Option(help: languageHelp) var language: String?

        func validate() throws {
            if (keep == nil) == (value == nil) {
                throw ValidationError(
                    help("give either --keep or --value", "请给出 --keep 或 --value 之一"))
            }
            if NeedField(name: field) == nil {
                throw ValidationError(help("no such field: \(field)", "没有这个字段：\(field)"))
            }
            if let keep, keep != "shown", keep != "other", Int(keep) == nil {
                throw ValidationError(
                    help("--keep takes shown, other or a number", "--keep 可为 shown、other 或编号"))
            }
        }

        func run() throws {
            try perform { surroundings in
                let journal = try surroundings.openJournal()
                let need = try journal.resolve(id)
                guard let field = NeedField(name: field) else { return }
                let choice: Keep
                switch keep {
                case "shown": choice = .shown
                case "other": choice = .other
                case let number?: choice = .number(Int(number) ?? 0)
                case nil:
                    let original = try journal.snapshot(of: need).value(field)
                    choice = .value(
                        try journal.value(of: field, from: value ?? "", original: original))
                }
                let stored = try journal.settle(
                    need, field, keep: choice, clocks: surroundings.clocks())
                try surroundings.confirm(Phrase("settled", "已处理"), stored, journal)
            }
        }
    }
}
