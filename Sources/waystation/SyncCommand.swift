import ArgumentParser
import DeviceJournal
import DeviceSync
import Glibc
import NeedModel
import SyncCore
import TerminalUI

struct EnrollCommand: TerminalCommand {
    static let configuration = CommandConfiguration(
        commandName: "enroll", _superCommandName: "waystation",
        abstract: help(
            "Join with a one-use code; again keeps what waits.",
            "用一次性邀请码登记；重新登记会保留未上传的内容。"))

    @Argument(help: ArgumentHelp(help("http(s)://host[:port]", "http(s)://主机[:端口]")))
    var url: String
    @Argument(help: ArgumentHelp(help("From the server's operator.", "由服务器管理员提供。")))
    var code: String
    @Option(
        help: ArgumentHelp(
            help("A PEM file of authorities to trust.", "受信任的 CA 证书（PEM 文件）。"),
            valueName: "file"))
    var ca: String?
    @Flag(help: noInputHelp) var noInput = false
    @Option(help: languageHelp) var language: String?

    func run() throws {
        try perform { surroundings in
            let invite = try InviteCode(code)
            let journal = try surroundings.openJournal(creating: true)
            let client = try SyncClient(
                enrolling: url, code: invite, authorityFile: ca, journal: journal)
            Interruption.watch(client.interrupt)
            if let address = try? HubAddress(url), address.isExposed {
                surroundings.console.warn(
                    "\(Phrase("without https anybody on the way can read what is sent", "没有 https，传输内容可能被他人读取"), surroundings.language)"
                )
            }
            let line = surroundings.console.progress()
            let report = try client.enroll(invite) {
                line.update(SyncCommand.progressText($0, surroundings.language))
            }
            line.finish()
            if let identity = try journal.identity() {
                surroundings.console.out(
                    "\(Phrase("enrolled as", "已登记为"), surroundings.language) \(identity.name, .bold) (\(identity.role.phrase, surroundings.language), \(identity.banner))"
                )
            }
            SyncCommand.tell(report, surroundings, asJSON: false)
            if let code = SyncCommand.exitCode(of: report) { throw code }
        }
    }
}

struct SyncCommand: TerminalCommand {
    static let configuration = CommandConfiguration(
        commandName: "sync", _superCommandName: "waystation",
        abstract: help("Send what waits, fetch what is new.", "上传本机内容，取回最新内容。"))

    @Flag(help: ArgumentHelp(help("Again every 30 s until interrupted.", "每 30 秒同步一次，直到中断。")))
    var watch = false
    @Flag(help: jsonHelp) var json = false
    @Flag(help: noInputHelp) var noInput = false
    @Option(help: languageHelp) var language: String?

    private static let watchIntervalSeconds = 30

    func run() throws {
        try perform { surroundings in
            let journal = try surroundings.openJournal()
            let client = try SyncClient(journal: journal)
            Interruption.watch(client.interrupt)
            if watch {
                if let code = watch(with: client, surroundings) { throw code }
                return
            }
            let line = surroundings.console.progress()
            let report = client.sync {
                line.update(Self.progressText($0, surroundings.language))
            }
            line.finish()
            Self.tell(report, surroundings, asJSON: json)
            if let code = Self.exitCode(of: report) { throw code }
        }
    }

    /// Until interrupted, or until there is nobody to tell or nobody to sync with.
    ///
    /// - Returns: `nil` where nobody could be told, which is told where commands end.
    private func watch(with client: SyncClient, _ surroundings: Surroundings) -> ExitCode? {
        let console = surroundings.console
        var line: ProgressLine?
        var code: ExitCode? = ExitCode(130)
        client.watch(intervalSeconds: Self.watchIntervalSeconds) { progress in
            // One for each sync: it is gone for good when it was told to be.
            if line == nil { line = console.progress() }
            line?.update(Self.progressText(progress, surroundings.language))
        } report: { report in
            line?.finish()
            line = nil
            Self.tell(report, surroundings, asJSON: json)
            if let failure = report.failure,
                failure.category == .notEnrolled || failure == .enrolledElsewhere
            {
                code = Self.exitCode(of: report)
                return false
            }
            guard !console.isOutputClosed, console.outputFault == nil else {
                code = nil
                return false
            }
            return true
        }
        return code
    }

    static func progressText(_ progress: SyncProgress, _ language: Language) -> String {
        Phrase(
            "syncing: \(progress.bytesUp) B up, \(progress.bytesDown) B down",
            "正在同步：上传 \(progress.bytesUp) 字节，下载 \(progress.bytesDown) 字节")(language)
    }

    static func exitCode(of report: SyncReport) -> ExitCode? {
        if let failure = report.failure { return ExitCode(Fault(failure).exitCode) }
        let asksForPerson =
            report.news.refused > 0 || report.notices.contains { $0.isInRefusedList }
        return asksForPerson ? ExitCode(65) : nil
    }

    /// Says what came, what it cost, and what went wrong.
    static func tell(
        _ report: SyncReport, _ surroundings: Surroundings, asJSON: Bool
    ) {
        if asJSON {
            surroundings.console.out(json(report), isPretty: true)
        } else {
            let language = surroundings.language
            let parts = newsParts(report).map { $0(language) }
            if !parts.isEmpty {
                surroundings.console.out(
                    "\(parts.joined(separator: Phrase(", ", "，")(language)))")
            } else if report.failure == nil {
                surroundings.console.out("\(Phrase("nothing new", "没有新内容"), language)")
            }
            for notice in report.notices {
                surroundings.console.out("\(StatusCommand.phrase(notice), language)")
            }
            if report.roundTrips > 0 {
                surroundings.console.note(
                    "\(Phrase("\(report.bytesUp) B up, \(report.bytesDown) B down, \(report.roundTrips) round trip\(report.roundTrips == 1 ? "" : "s")", "上传 \(report.bytesUp) 字节，下载 \(report.bytesDown) 字节，往返 \(report.roundTrips) 次"), language, .dim)"
                )
            }
        }
        guard let failure = report.failure else { return }
        let fault = Fault(failure)
        surroundings.console.fail(
            "\(fault.message, surroundings.language)",
            hint: fault.hint.map { "\($0, surroundings.language)" })
        // Nobody can promise that of a file that cannot be read.
        guard !failure.isOfJournalFile else { return }
        surroundings.console.note(
            "\(Phrase("records are safe on this device; \(report.waitingGroups) waiting to be sent", "记录已安全保存在本机；\(report.waitingGroups) 项等待上传"), surroundings.language)"
        )
    }

    private static func newsParts(_ report: SyncReport) -> [Phrase] {
        let news = report.news
        func counted(_ count: Int, _ one: String, _ many: String, _ chinese: String) -> Phrase? {
            count == 0 ? nil : Phrase("\(count) \(count == 1 ? one : many)", "\(count)\(chinese)")
        }
        let sent = report.settledGroups - news.refused
        // What is a job for this device is not told again as a need.
        let newNeeds = Set(news.newNeeds).subtracting(news.newJobs)
        return [
            counted(sent, "sent", "sent", " 项已上传"),
            counted(news.newJobs.count, "new job", "new jobs", " 个新任务"),
            counted(newNeeds.count, "new need", "new needs", " 条新需求"),
            counted(news.dispatched.count, "need dispatched", "needs dispatched", " 条已派单"),
            counted(news.accepted.count, "job accepted", "jobs accepted", " 个已接单"),
            counted(news.declined.count, "job declined", "jobs declined", " 个被拒单"),
            counted(news.started.count, "job started", "jobs started", " 个开始办理"),
            counted(news.finished.count, "need finished", "needs finished", " 条已办结"),
            counted(news.rated.count, "need rated", "needs rated", " 条已评价"),
            counted(news.withdrawn.count, "withdrawn", "withdrawn", " 条已撤回"),
            counted(news.restored.count, "brought back", "brought back", " 条已恢复"),
            counted(news.changed.count, "need changed", "needs changed", " 条有修改"),
            counted(news.noted.count, "need with new notes", "needs with new notes", " 条有新备注"),
            counted(news.newConflicts.count, "new conflict", "new conflicts", " 处新冲突"),
            counted(
                news.settledConflicts.count, "conflict settled", "conflicts settled", " 处冲突已处理"),
            counted(
                news.superseded, "superseded by a later change", "superseded by later changes",
                " 项被更晚的修改取代"),
            counted(
                report.mendedRecords, "damaged record mended", "damaged records mended",
                " 条损坏记录已修复"),
            counted(news.departed.count, "left this device", "left this device", " 条已移出本机"),
            counted(
                news.refused, "refused (see refused list)", "refused (see refused list)",
                " 项被拒（见 refused list）"),
        ].compactMap { $0 }
    }

    private static func json(_ report: SyncReport) -> JSONValue {
        let news = report.news
        let lists: [(String, [RecordID])] = [
            ("new_jobs", news.newJobs), ("new_needs", news.newNeeds),
            ("dispatched", news.dispatched), ("accepted", news.accepted),
            ("declined", news.declined), ("started", news.started), ("finished", news.finished),
            ("rated", news.rated), ("withdrawn", news.withdrawn), ("restored", news.restored),
            ("changed", news.changed), ("noted", news.noted),
            ("new_conflicts", news.newConflicts), ("settled_conflicts", news.settledConflicts),
            ("departed", news.departed),
        ]
        return .object([
            ("complete", .bool(report.failure == nil)),
            ("sent", .integer(report.settledGroups - news.refused)),
            ("refused", .integer(news.refused)),
            ("superseded", .integer(news.superseded)),
            ("waiting", .integer(report.waitingGroups)),
            (
                "news",
                .object(lists.map { ($0.0, .strings($0.1.map(\.description))) })
            ),
            ("notices", .strings(report.notices.map(\.description))),
            ("mended", .integer(report.mendedRecords)),
            ("bytes_up", .integer(report.bytesUp)),
            ("bytes_down", .integer(report.bytesDown)),
            ("round_trips", .integer(report.roundTrips)),
            ("connections", .integer(report.connections)),
            ("milliseconds", .integer(report.elapsedMilliseconds)),
            ("error", JSONValue(report.failure?.description)),
        ])
    }
}

struct StatusCommand: TerminalCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", _superCommandName: "waystation",
        abstract: help("Who I am, what waits, and when I last synced.", "我是谁、有多少待上传、上次何时同步。"))

    @Flag(help: jsonHelp) var json = false
    @Flag(help: noInputHelp) var noInput = false
    @Option(help: languageHelp) var language: String?

    func run() throws {
        try perform { surroundings in
            let journal = try surroundings.openJournal()
            let status = try journal.status()
            guard let identity = status.identity else { throw JournalError.notEnrolled }
            let now = try journal.approximateNow(surroundings.clocks())
            if json {
                surroundings.console.out(Self.json(status, identity), isPretty: true)
                return
            }
            let language = surroundings.language
            let console = surroundings.console
            console.out(
                "\(identity.name, .bold)  \(identity.role.phrase, language)  \(try Self.place(of: identity, journal))  \(identity.banner)"
            )
            console.out("\(Phrase("server: ", "服务器："), language)\(identity.server)")
            let changes = "\(status.waitingChanges) change\(status.waitingChanges == 1 ? "" : "s")"
            let commands = "\(status.waitingGroups) command\(status.waitingGroups == 1 ? "" : "s")"
            console.out(
                "\(Phrase("waiting to be sent: \(changes) in \(commands)", "等待上传：\(status.waitingGroups) 项，共 \(status.waitingChanges) 处改动"), language)"
            )
            let last =
                status.lastSyncMilliseconds.map {
                    console.isOutputTerminal
                        ? CivilTime.relative(milliseconds: $0, now: now, language: language)
                        : CivilTime.rfc3339(
                            milliseconds: $0, offsetMinutes: identity.offsetMinutes)
                } ?? Phrase("never", "从未")(language)
            console.out("\(Phrase("last sync: ", "上次同步："), language)\(last)")
            console.out(
                "\(Phrase("needs: \(status.needs)  conflicts: \(status.conflicts)  refused: \(status.refused)", "需求：\(status.needs)  冲突：\(status.conflicts)  被拒：\(status.refused)"), language)"
            )
            if status.isPullUnderWay {
                console.out(
                    "\(Phrase("a download was interrupted; sync goes on with it", "上次下载中断；同步时将继续"), language)"
                )
            }
            for notice in status.notices.prefix(3) {
                let when = CivilTime.short(
                    milliseconds: notice.milliseconds, offsetMinutes: identity.offsetMinutes)
                console.out("\(when, .dim)  \(Self.phrase(notice), language)")
            }
        }
    }

    /// The territory or team by name, with its code, which other commands take too.
    private static func place(of identity: Identity, _ journal: Journal) throws -> String {
        let code = identity.role == .team ? identity.team : identity.territory
        let name =
            identity.role == .team
            ? try journal.teams().first { $0.code == code }?.name
            : try journal.territories().first { $0.code == code }?.name
        return name.map { "\($0) (\(code))" } ?? code
    }

    fileprivate static func phrase(_ notice: Notice) -> Phrase {
        switch notice.kind {
        case .forked:
            Phrase(
                notice.description,
                "本机记录被发现是副本或由备份恢复；其中内容没有丢失，已作为新的记录继续"
                    + (notice.amount == 0 ? "。" : "，\(notice.amount) 项随之上传。"))
        case .hubRestored:
            Phrase(
                notice.description,
                notice.amount == 0
                    ? "服务器曾由备份恢复；没有丢失任何内容，本机保存的它都有。"
                    : "服务器曾由备份恢复；没有丢失内容，本机已把保存的 \(notice.amount) 条记录的改动补传回去。")
        case .mended:
            Phrase(notice.description, "本机有 \(notice.amount) 条记录曾损坏，已从服务器重新取回。")
        case .differs:
            Phrase(notice.description, "本机内容与服务器不完全一致（已发现 \(notice.amount) 次），请告知服务器管理员。")
        case .commandsDamaged:
            Phrase(
                notice.description + " waystation refused list shows it.",
                "本机有 \(notice.amount) 项内容在同步完成前已损坏，尚可读出的部分仍在本机：waystation refused list")
        case .notTakenBack:
            Phrase(
                notice.description + " waystation refused list shows it.",
                "本机保存的 \(notice.amount) 条记录有部分内容未由恢复后的服务器传回，这些内容仍在本机：waystation refused list")
        }
    }

    private static func json(_ status: JournalStatus, _ identity: Identity) -> JSONValue {
        .object([
            ("device", .integer(Int(identity.device))),
            ("name", .string(identity.name)), ("role", .string(identity.role.name)),
            ("territory", JSONValue(identity.territory.isEmpty ? nil : identity.territory)),
            ("team", JSONValue(identity.team.isEmpty ? nil : identity.team)),
            ("banner", .string(identity.banner)), ("server", .string(identity.server)),
            ("waiting_commands", .integer(status.waitingGroups)),
            ("waiting_changes", .integer(status.waitingChanges)),
            (
                "last_sync",
                JSONValue(
                    status.lastSyncMilliseconds.map {
                        CivilTime.rfc3339(
                            milliseconds: $0, offsetMinutes: identity.offsetMinutes)
                    })
            ),
            ("needs", .integer(status.needs)), ("conflicts", .integer(status.conflicts)),
            ("refused", .integer(status.refused)),
            ("pull_under_way", .bool(status.isPullUnderWay)),
            ("notices", .strings(status.notices.map(\.description))),
        ])
    }
}

/// Ctrl-C and SIGTERM end a sync at once; the journal is right at every moment.
enum Interruption {
    // Written once before the handler is installed, read by the handler.
    nonisolated(unsafe) private static var interrupt: HTTPTransport.Interrupt?

    static func watch(_ handle: HTTPTransport.Interrupt) {
        interrupt = handle
        for number in [SIGINT, SIGTERM] {
            signal(number) { _ in Interruption.interrupt?.cancel() }
        }
    }
}
