import ArgumentParser
import DeviceJournal
import NeedModel
import SyncCore
import TerminalUI

struct JobCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "job",
        abstract: help("Needs that were dispatched to a team.", "派给队伍的任务。"),
        subcommands: [
            List.self, Show.self, Accept.self, Decline.self, Start.self, Finish.self,
        ])
}

extension JobCommand {
    struct List: TerminalCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", _superCommandName: "waystation job",
            abstract: help("Jobs by due date.", "按期限排列的任务。"))

        @Flag(help: jsonHelp) var json = false
        @Flag(help: noInputHelp) var noInput = false
        @Option(help: languageHelp) var language: String?

        func run() throws {
            try perform { surroundings in
                let journal = try surroundings.openJournal()
                let screen = try NeedScreen(surroundings, journal)
                let jobs = try journal.jobs().sorted { left, right in
                    (
                        left.status.isClosed ? 1 : 0, left.dispatch?.due?.daysSince1970 ?? .max,
                        left.id
                    )
                        < (
                            right.status.isClosed ? 1 : 0,
                            right.dispatch?.due?.daysSince1970 ?? .max, right.id
                        )
                }
                if json {
                    surroundings.console.out(
                        ["jobs": .array(jobs.map(screen.json))], isPretty: true)
                } else {
                    screen.show(jobs: jobs)
                }
                // A mark that a full disk does not take is no reason to fail what was shown.
                try? journal.markSeen(jobs.map(\.id))
            }
        }
    }

    struct Show: TerminalCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", _superCommandName: "waystation job",
            abstract: help("One job.", "一项任务。"))

        @Argument(help: ArgumentHelp(help("Its id, or the end of it.", "编号或编号末几位。")))
        var id: String
        @Flag(help: jsonHelp) var json = false
        @Flag(help: noInputHelp) var noInput = false
        @Option(help: languageHelp) var language: String?

        func run() throws {
            try perform { surroundings in
                try NeedSheet(surroundings).show(id, history: false, asJSON: json)
            }
        }
    }

    struct Accept: TerminalCommand {
        static let configuration = CommandConfiguration(
            commandName: "accept", _superCommandName: "waystation job",
            abstract: help("Take a job.", "接单。"))

        @Argument(help: ArgumentHelp(help("Its id, or the end of it.", "编号或编号末几位。")))
        var id: String
        @Flag(help: noInputHelp) var noInput = false
        @Option(help: languageHelp) var language: String?

        func run() throws {
            try perform { surroundings in
                let journal = try surroundings.openJournal()
                let need = try journal.accept(
                    journal.resolve(id), clocks: surroundings.clocks())
                try surroundings.confirm(Phrase("accepted", "已接单"), need, journal)
            }
        }
    }

    struct Decline: TerminalCommand {
        static let configuration = CommandConfiguration(
            commandName: "decline", _superCommandName: "waystation job",
            abstract: help("Decline a job, or give it back.", "拒单或退单。"))

        @Argument(help: ArgumentHelp(help("Its id, or the end of it.", "编号或编号末几位。")))
        var id: String
        @Option(help: ArgumentHelp(help("Why.", "原因。")))
        var reason: String
        @Flag(help: noInputHelp) var noInput = false
        @Option(help: languageHelp) var language: String?

        func run() throws {
            try perform { surroundings in
                let journal = try surroundings.openJournal()
                let need = try journal.decline(
                    journal.resolve(id), reason: reason, clocks: surroundings.clocks())
                try surroundings.confirm(Phrase("declined", "已拒单"), need, journal)
            }
        }
    }

    struct Start: TerminalCommand {
        static let configuration = CommandConfiguration(
            commandName: "start", _superCommandName: "waystation job",
            abstract: help("Begin the work.", "开始办理。"))

        @Argument(help: ArgumentHelp(help("Its id, or the end of it.", "编号或编号末几位。")))
        var id: String
        @Flag(help: noInputHelp) var noInput = false
        @Option(help: languageHelp) var language: String?

        func run() throws {
            try perform { surroundings in
                let journal = try surroundings.openJournal()
                let need = try journal.start(journal.resolve(id), clocks: surroundings.clocks())
                try surroundings.confirm(Phrase("started", "已开始办理"), need, journal)
            }
        }
    }

    struct Finish: TerminalCommand {
        static let configuration = CommandConfiguration(
            commandName: "finish", _superCommandName: "waystation job",
            abstract: help("The work is done.", "办结。"))

        @Argument(help: ArgumentHelp(help("Its id, or the end of it.", "编号或编号末几位。")))
        var id: String
        @Option(help: ArgumentHelp(help("What was done.", "办理结果。")))
        var result: String
        @Flag(help: noInputHelp) var noInput = false
        @Option(help: languageHelp) var language: String?

        func run() throws {
            try perform { surroundings in
                let journal = try surroundings.openJournal()
                let need = try journal.finish(
                    journal.resolve(id), result: result, clocks: surroundings.clocks())
                try surroundings.confirm(Phrase("finished", "已办结"), need, journal)
            }
        }
    }
}

struct DispatchCommand: TerminalCommand {
    static let configuration = CommandConfiguration(
        commandName: "dispatch", _superCommandName: "waystation",
        abstract: help(
            "Send a team; again after a decline, or to change the team.",
            "派单；拒单后或更换队伍时再次派单。"))

    @Argument(help: ArgumentHelp(help("The need's id, or the end of it.", "需求编号或编号末几位。")))
    var id: String
    @Option(help: ArgumentHelp(help("Code or name.", "代码或名称。")))
    var team: String
    @Option(help: ArgumentHelp(help("Year-month-day.", "年-月-日。"), valueName: "date"))
    var due: String?
    @Flag(help: noInputHelp) var noInput = false
    @Option(help: languageHelp) var language: String?

    func validate() throws {
        if let due, CivilDate(due) == nil {
            throw ValidationError(
                "--due: "
                    + help(CivilDate.faultPhrase.english, CivilDate.faultPhrase.chinese) + ". "
                    + help(CivilDate.hintPhrase.english, CivilDate.hintPhrase.chinese))
        }
    }

    func run() throws {
        try perform { surroundings in
            let journal = try surroundings.openJournal()
            let need = try journal.dispatch(
                journal.resolve(id), team: journal.teamCode(matching: team),
                due: due.flatMap { CivilDate($0) }, clocks: surroundings.clocks())
            try surroundings.confirm(Phrase("dispatched", "已派单"), need, journal)
        }
    }
}
