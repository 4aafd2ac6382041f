import ArgumentParser
import DeviceJournal
import DeviceSync
import NeedModel
import SyncCore
import TerminalUI

struct NeedCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "need", abstract: help("What residents need.", "居民的需求。"),
        subcommands: [Add.self, List.self, Show.self, Edit.self, Withdraw.self, Rate.self])
}

extension NeedCommand {
    struct Add: TerminalCommand {
        static let configuration = CommandConfiguration(
            commandName: "add", _superCommandName: "waystation need",
            abstract: help("Record a need.", "记录一条需求。"))

        @Argument(help: ArgumentHelp(help("What is needed.", "需要什么。")))
        var text: String?
        @Option(help: ArgumentHelp(help("Code or name.", "代码或名称。")))
        var category: String?
        @Option(help: ArgumentHelp(help("Code or name.", "代码或名称。")))
        var grid: String?
        @Option(help: ArgumentHelp(help("The resident's name.", "居民姓名。"), valueName: "name"))
        var resident: String?
        @Option(help: ArgumentHelp(help("The resident's phone.", "居民电话。")))
        var phone: String?
        @Option(help: ArgumentHelp(help("Where to go.", "地址。")))
        var address: String?
        @Option(help: ArgumentHelp(help("1 to 3, 3 most urgent.", "1 到 3，3 最急。")))
        var urgency: Int?
        @Option(help: ArgumentHelp(help("Degrees.", "经纬度（度）。"), valueName: "lat,lon"))
        var at: String?
        @Flag(help: jsonHelp) var json = false
        @Flag(help: noInputHelp) var noInput = false
        @Option(help: languageHelp) var language: String?

        func run() throws {
            try perform { surroundings in
                let journal = try surroundings.openJournal()
                var typed: [(NeedField, String)] = []
                func take(_ field: NeedField, _ text: String?) {
                    if let text, !text.isEmpty { typed.append((field, text)) }
                }
                take(.text, text)
                take(.category, category)
                take(.grid, try grid ?? onlyGrid(journal))
                take(.resident, resident)
                take(.phone, phone)
                take(.address, address)
                take(.urgency, urgency.map(String.init))
                take(.location, at)
                if surroundings.mayAsk {
                    try ask(surroundings, journal, for: &typed)
                }
                let edits = try typed.map { field, text in
                    FieldEdit(field, try journal.value(of: field, from: text))
                }
                let need = try journal.addNeed(edits, clocks: surroundings.clocks())
                if json {
                    let screen = try NeedScreen(surroundings, journal, naming: need.id)
                    surroundings.console.out(screen.json(need), isPretty: true)
                } else {
                    try surroundings.confirm(Phrase("recorded", "已记录"), need, journal)
                }
            }
        }

        /// A worker with one grid need not name it.
        private func onlyGrid(_ journal: Journal) throws -> String? {
            let grids = try journal.ownGrids()
            return grids.count == 1 ? grids[0].code : nil
        }

        private func ask(
            _ surroundings: Surroundings, _ journal: Journal,
            for typed: inout [(NeedField, String)]
        ) throws {
            // Somebody who gave the text on the command line is in a hurry: only what cannot be
            // missing is asked for.
            let isHurried = text != nil
            let asked: [(NeedField, Phrase, Bool)] = [
                (.text, Phrase("What is needed", "需要什么"), true),
                (.grid, Phrase("Grid (code or name)", "网格（代码或名称）"), true),
                (.category, Phrase("Category (may be empty)", "类别（可不填）"), false),
                (.resident, Phrase("Resident (may be empty)", "居民姓名（可不填）"), false),
                (.phone, Phrase("Phone (may be empty)", "电话（可不填）"), false),
                (.address, Phrase("Address (may be empty)", "地址（可不填）"), false),
            ]
            for (field, prompt, isRequired) in asked where isRequired || !isHurried {
                if typed.contains(where: { $0.0 == field }) { continue }
                if field == .grid { list(try journal.ownGrids(), surroundings) }
                if field == .category { list(try journal.categories(), surroundings) }
                guard let answer = answer(to: prompt, surroundings) else { return }
                if !answer.isEmpty { typed.append((field, answer)) }
            }
        }

        /// - Returns: `nil` at the end of input.
        private func answer(to prompt: Phrase, _ surroundings: Surroundings) -> String? {
            while true {
                do throws(Console.IllFormedAnswer) {
                    return try surroundings.console.ask("\(prompt, surroundings.language): ")
                } catch {
                    surroundings.console.warn(
                        "\(surroundings.text("what was typed is not UTF-8", "输入的内容不是 UTF-8 编码"))",
                        hint: "\(utf8Hint, surroundings.language)")
                }
            }
        }

        private func list(_ grids: [Territory], _ surroundings: Surroundings) {
            for grid in grids.prefix(20) {
                surroundings.console.note("  \(grid.code, .dim)  \(grid.name)")
            }
        }

        private func list(_ codes: [NamedCode], _ surroundings: Surroundings) {
            for code in codes.prefix(30) {
                surroundings.console.note("  \(code.code, .dim)  \(code.name)")
            }
        }
    }

    struct List: TerminalCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", _superCommandName: "waystation need",
            abstract: help("Needs on this device.", "本机上的需求。"))

        @Option(
            help: ArgumentHelp(
                help(
                    "recorded, dispatched, declined, accepted, started, finished, rated or withdrawn.",
                    "recorded 待派单、dispatched 待接单、declined 已拒单、accepted 已接单、started 办理中、finished 待评价、rated 已评价、withdrawn 已撤回。"
                )))
        var status: String?
        @Option(help: ArgumentHelp(help("Code or name.", "代码或名称。")))
        var category: String?
        @Option(help: ArgumentHelp(help("Code or name.", "代码或名称。")))
        var grid: String?
        @Flag(help: ArgumentHelp(help("Only what is past its due date.", "只列出超期的。")))
        var overdue = false
        @Flag(help: jsonHelp) var json = false
        @Flag(help: noInputHelp) var noInput = false
        @Option(help: languageHelp) var language: String?

        func validate() throws {
            if let status, NeedStatus(rawValue: status) == nil {
                throw ValidationError(help("no such status: \(status)", "没有这个状态：\(status)"))
            }
        }

        func run() throws {
            try perform { surroundings in
                let journal = try surroundings.openJournal()
                let screen = try NeedScreen(surroundings, journal)
                let categoryCode = try category.map { try journal.categoryCode(matching: $0) }
                let gridCode = try grid.map { try journal.gridCode(matching: $0) }
                let wanted = status.flatMap { NeedStatus(rawValue: $0) }
                let needs = try journal.needs(includingWithdrawn: wanted == .withdrawn).filter {
                    (wanted == nil || $0.status == wanted)
                        && (categoryCode == nil || $0.category == categoryCode)
                        && (gridCode == nil || $0.grid == gridCode)
                        && (!overdue || $0.isOverdue(today: screen.today))
                }
                if json {
                    surroundings.console.out(
                        ["needs": .array(needs.map(screen.json))], isPretty: true)
                } else {
                    screen.show(needs: needs)
                }
            }
        }
    }

    struct Show: TerminalCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", _superCommandName: "waystation need",
            abstract: help("One need with its notes.", "一条需求及其备注。"))

        @Argument(help: ArgumentHelp(help("Its id, or the end of it.", "编号或编号末几位。")))
        var id: String
        @Flag(
            help: ArgumentHelp(
                help(
                    "Every change with its clock; asks the server when it can be reached.",
                    "所有改动及其时钟；能连上服务器时从服务器取全。")))
        var history = false
        @Flag(help: jsonHelp) var json = false
        @Flag(help: noInputHelp) var noInput = false
        @Option(help: languageHelp) var language: String?

        func run() throws {
            try perform { surroundings in
                try NeedSheet(surroundings).show(id, history: history, asJSON: json)
            }
        }
    }

    struct Edit: TerminalCommand {
        static let configuration = CommandConfiguration(
            commandName: "edit", _superCommandName: "waystation need",
            abstract: help("Change fields of a need.", "修改需求。"))

        @Argument(help: ArgumentHelp(help("Its id, or the end of it.", "编号或编号末几位。")))
        var id: String
        @Argument(
            help: ArgumentHelp(
                help(
                    "text, category, grid, resident, phone, address, urgency or location; empty clears.",
                    "text、category、grid、resident、phone、address、urgency 或 location；留空即清除。"),
                valueName: "field=value"))
        var changes: [String]
        @Flag(help: noInputHelp) var noInput = false
        @Option(help: languageHelp) var language: String?

        func run() throws {
            try perform { surroundings in
                let journal = try surroundings.openJournal()
                let need = try journal.resolve(id)
                let edits = try FieldAssignment.edits(changes, journal: journal)
                let stored = try journal.editNeed(need, edits, clocks: surroundings.clocks())
                try surroundings.confirm(Phrase("changed", "已修改"), stored, journal)
            }
        }
    }

    struct Withdraw: TerminalCommand {
        static let configuration = CommandConfiguration(
            commandName: "withdraw", _superCommandName: "waystation need",
            abstract: help("Withdraw a need, or bring it back.", "撤回需求，或恢复。"))

        @Argument(help: ArgumentHelp(help("Its id, or the end of it.", "编号或编号末几位。")))
        var id: String
        @Option(help: ArgumentHelp(help("Why.", "原因。")))
        var reason: String?
        @Flag(help: ArgumentHelp(help("Bring it back.", "恢复。")))
        var undo = false
        @Flag(help: noInputHelp) var noInput = false
        @Option(help: languageHelp) var language: String?

        func validate() throws {
            if (reason == nil) == !undo {
                throw ValidationError(
                    help("give either --reason or --undo", "请给出 --reason 或 --undo 之一"))
            }
        }

        func run() throws {
            try perform { surroundings in
                let journal = try surroundings.openJournal()
                let need = try journal.resolve(id)
                if let reason {
                    let stored = try journal.withdraw(
                        need, reason: reason, clocks: surroundings.clocks())
                    try surroundings.confirm(Phrase("withdrawn", "已撤回"), stored, journal)
                } else {
                    let stored = try journal.undoWithdrawal(need, clocks: surroundings.clocks())
                    try surroundings.confirm(Phrase("brought back", "已恢复"), stored, journal)
                }
            }
        }
    }

    struct Rate: TerminalCommand {
        static let configuration = CommandConfiguration(
            commandName: "rate", _superCommandName: "waystation need",
            abstract: help("The resident's grade of a finished job.", "居民对办结任务的评价。"))

        @Argument(help: ArgumentHelp(help("Its id, or the end of it.", "编号或编号末几位。")))
        var id: String
        @Option(help: ArgumentHelp(help("1 to 5, 5 best.", "1 到 5，5 最好。")))
        var grade: Int
        @Option(help: ArgumentHelp(help("In the resident's words.", "居民的原话。")))
        var comment: String?
        @Flag(help: noInputHelp) var noInput = false
        @Option(help: languageHelp) var language: String?

        func run() throws {
            try perform { surroundings in
                let journal = try surroundings.openJournal()
                let need = try journal.resolve(id)
                let stored = try journal.rate(
                    need, grade: grade, comment: comment ?? "", clocks: surroundings.clocks())
                try surroundings.confirm(Phrase("rated", "已评价"), stored, journal)
            }
        }
    }
}

struct NoteCommand: TerminalCommand {
    static let configuration = CommandConfiguration(
        commandName: "note", _superCommandName: "waystation",
        abstract: help("Add a note to a need.", "给需求加备注。"))

    @Argument(help: ArgumentHelp(help("The need's id, or the end of it.", "需求编号或编号末几位。")))
    var id: String
    @Argument(help: ArgumentHelp(help("What to note.", "备注内容。")))
    var text: String
    @Flag(help: noInputHelp) var noInput = false
    @Option(help: languageHelp) var language: String?

    func run() throws {
        try perform { surroundings in
            let journal = try surroundings.openJournal()
            let need = try journal.resolve(id)
            let note = try journal.note(need, text: text, clocks: surroundings.clocks())
            let shortID = try journal.shortID(of: need)
            surroundings.console.out(
                "\(Phrase("noted on", "已备注"), surroundings.language) \(shortID, .bold)  \(note.text)"
            )
        }
    }
}

/// A need on one page, for `need show` and `job show`.
struct NeedSheet {
    let surroundings: Surroundings

    init(_ surroundings: Surroundings) { self.surroundings = surroundings }

    func show(_ idText: String, history: Bool, asJSON: Bool) throws {
        let journal = try surroundings.openJournal()
        let id = try journal.resolve(idText)
        let screen = try NeedScreen(surroundings, journal)
        let need = try journal.snapshot(of: id)
        let notes = try journal.notes(of: id)
        let lines = history ? try self.history(of: id, journal: journal) : nil
        if asJSON {
            guard case .object(var members) = screen.json(need) else { return }
            members.append(("notes", .array(notes.map(screen.json))))
            if let lines { members.append(("history", .array(lines.map(screen.json)))) }
            surroundings.console.out(.object(members), isPretty: true)
        } else {
            screen.show(need, notes: notes, history: lines)
        }
        // A mark that a full disk does not take is no reason to fail what was shown.
        try? journal.markSeen([id])
    }

    /// The hub's history when it can be had, with what waits here after it; else this device's.
    private func history(of id: RecordID, journal: Journal) throws -> [HistoryLine] {
        let held = try journal.history(of: id)
        // Nothing of it has come back, so hardly will the hub have it.
        guard held.contains(where: { $0.sequence != 0 }) else { return held }
        let line = surroundings.console.progress()
        defer { line.finish() }
        do throws(SyncError) {
            let lines = try SyncClient(journal: journal).fetchHistory(of: id) {
                line.update(SyncCommand.progressText($0, surroundings.language))
            }
            return lines + held.filter { $0.sequence == 0 }
        } catch {
            if case .journal = error { throw error }
            line.finish()
            let why = Fault(error).message(surroundings.language)
            surroundings.console.note(
                "\(Phrase("this is what the device holds, not the server: \(why)", "以下是本机所存内容，不是服务器的：\(why)"), surroundings.language, .dim)"
            )
            return held
        }
    }
}

/// `FIELD=VALUE` on the command line.
enum FieldAssignment {
    /// - Parameter original: The value that the new one is to replace, of which it takes what is
    ///   not typed.
    static func edits(
        _ texts: [String], journal: Journal, original: (NeedField) -> FieldValue? = { _ in nil }
    ) throws -> [FieldEdit] {
        guard !texts.isEmpty else {
            throw ValidationError(help("nothing to change", "没有要修改的内容"))
        }
        return try texts.map { text in
            guard let sign = text.firstIndex(of: "="),
                let field = NeedField(name: String(text[..<sign]))
            else {
                throw ValidationError(
                    help(
                        "\"\(text)\" is not FIELD=VALUE with a field of a need",
                        "“\(text)”不是 字段=内容 的形式"))
            }
            let value = String(text[text.index(after: sign)...])
            return FieldEdit(
                field, try journal.value(of: field, from: value, original: original(field)))
        }
    }
}

extension Surroundings {
    /// One line that says what was stored.
    func confirm(_ what: Phrase, _ need: NeedSnapshot, _ journal: Journal) throws {
        console.out(
            "\(what, language) \(try journal.shortID(of: need.id), .bold)  \(need.text)")
    }
}
