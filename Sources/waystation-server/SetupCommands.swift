import ArgumentParser
import HubLedger
import HubServer
import NeedModel
import TerminalUI

struct InitCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init", abstract: "Make a ledger for one banner.")

    @OptionGroup var common: CommonOptions

    @Option(help: "The banner's code, as in the territory table.")
    var banner: String

    @Option(help: "The banner's name, as devices show it.")
    var name: String

    @Option(
        parsing: .unconditional,
        help: "The banner's distance from UTC, which decides what day it is.")
    var offset = "+08:00"

    func run() async throws {
        guard let minutes = Self.minutes(offset) else {
            throw ValidationError("--offset is written as +08:00")
        }
        try await common.run { program in
            try Ledger.create(
                at: program.ledgerPath, banner: banner, name: name, offsetMinutes: minutes,
                clock: wallMilliseconds)
            program.console.note(
                "\(Phrase("made the ledger", "已建立数据账本"), program.language) \(program.ledgerPath)")
        }
    }

    /// Reads `+08:00`, up to 14 hours either way.
    static func minutes(_ text: String) -> Int? {
        let parts = text.dropFirst().split(separator: ":", omittingEmptySubsequences: false)
        guard let sign = text.first, sign == "+" || sign == "-", parts.count == 2,
            parts.allSatisfy({ $0.count == 2 && $0.allSatisfy { ("0"..."9").contains($0) } }),
            let hours = Int(parts[0]), let minutes = Int(parts[1]), minutes < 60,
            hours * 60 + minutes <= 14 * 60
        else { return nil }
        return (sign == "-" ? -1 : 1) * (hours * 60 + minutes)
    }
}

extension ReferenceTable: ExpressibleByArgument {}

struct ImportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Add and update reference data from a CSV file.",
        discussion: """
            Columns, named in the first line:
              territory   code,name,level,parent       (level: banner, town, village, grid)
              teams       id,name,territory
              categories  code,name
              routes      category,territory,team,due_days

            Rows are added, or updated by their key; none is removed. The file is checked whole \
            before any of it is stored.
            """)

    @OptionGroup var common: CommonOptions

    @Argument(help: "territory, teams, categories or routes.")
    var table: ReferenceTable

    @Argument(help: "The CSV file, UTF-8.", completion: .file(extensions: ["csv"]))
    var file: String

    func run() async throws {
        try await common.run { program in
            let text = try InputFile.table.text(at: file)
            let report: ImportReport
            do {
                report = try program.openLedger().importTable(table, csv: text)
            } catch let error as LedgerError {
                var failure = CommandFailure(error)
                if case .row = error { failure.message = "\(file), \(failure.message)" }
                throw failure
            }
            let summary = Phrase(
                "\(report.added) added, \(report.updated) updated, \(report.unchanged) unchanged",
                "新增 \(report.added)，更新 \(report.updated)，未变 \(report.unchanged)")
            program.console.note("\(table.rawValue): \(summary, program.language)")
        }
    }
}

extension Role: ExpressibleByArgument {
    public init?(argument: String) { self.init(name: argument) }
    public static var allValueStrings: [String] { Role.allCases.map(\.name) }
}

struct InviteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "invite", abstract: "Make a code that enrols one device, once.",
        discussion: """
            The code stands alone on the last line of standard output. When the server has a \
            certificate, the code carries the SHA-256 of its public key, so that the device needs \
            no certificate authority.
            """)

    @OptionGroup var common: CommonOptions

    @Option(help: "worker, team or office.")
    var role: Role

    @Option(help: "The territory of a worker or an office.")
    var territory: String?

    @Option(help: "The team's id, for a team's device.")
    var team: String?

    @Option(help: "The person or machine, as others see it beside what it wrote.")
    var name: String

    @Option(help: "How long the code can be used.")
    var expiresHours: Int64 = 72

    @Option(help: "The server's certificate, for codes made before its first start with it.")
    var tlsCertificate: String?

    func validate() throws {
        switch role {
        case .team:
            guard team != nil, territory == nil else {
                throw ValidationError("--role team goes with --team, not with --territory")
            }
        case .worker, .office:
            guard territory != nil, team == nil else {
                throw ValidationError("--role \(role.name) goes with --territory, not with --team")
            }
        }
        guard (1...8_784).contains(expiresHours) else {
            throw ValidationError("--expires-hours is from 1 to 8784, a year")
        }
    }

    func run() async throws {
        try await common.run { program in
            let ledger = try program.openLedger()
            // Only when asked: a running server has stored its key, and knows better than a
            // setting that may belong to another ledger.
            if let tlsCertificate {
                try ledger.setServerKey(
                    ServerCertificate.publicKeyHash(certificatePath: tlsCertificate))
            }
            let code = try ledger.invite(
                role: role, territory: territory, team: team, name: name,
                lifetimeSeconds: expiresHours * 3_600)
            let end = CivilTime.short(
                milliseconds: wallMilliseconds() + expiresHours * 3_600_000,
                offsetMinutes: try ledger.info().offsetMinutes)
            let place = territory ?? team ?? ""
            let words = Phrase("works once, until \(end):", "只能使用一次，有效期至 \(end)：")
            program.console.note(
                """
                \(name), \(role.phrase, program.language) \(place); \(words, program.language)
                """)
            program.console.out(StyledText(code))
        }
    }
}

struct BackupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup", abstract: "Copy the ledger as it is at one moment.",
        discussion: "Safe while the server runs.")

    @OptionGroup var common: CommonOptions

    @Argument(help: "The file to make.", completion: .file())
    var file: String

    func run() async throws {
        try await common.run { program in
            try program.openLedger().backup(to: file)
            program.console.note(
                "\(Phrase("the ledger was copied to", "账本已备份到"), program.language) \(file)")
        }
    }
}

struct RestoreCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Put a backup in place of the ledger.",
        discussion: """
            Stop the server first. The backup is checked before anything happens, and is only \
            read. The former ledger is kept beside the new one, as LEDGER.replaced-TIME; if it \
            can be read, devices, revocations, codes and routes that came after the backup are \
            taken over from it. Devices bring back what they hold when they next sync. Needs \
            free space for two copies of the backup, for a while.
            """)

    @OptionGroup var common: CommonOptions

    @Argument(help: "A file that backup made.", completion: .file())
    var file: String

    func run() async throws {
        try await common.run { program in
            let report: RestoreReport
            do {
                report = try Ledger.restore(
                    from: file, to: program.ledgerPath, clock: wallMilliseconds)
            } catch LedgerError.busy {
                throw CommandFailure(
                    .busy,
                    Phrase(
                        "a server or another command has the ledger open",
                        "服务器或其他命令正在使用账本")(program.language),
                    hint: Phrase(
                        "stop the server, then restore; nothing was changed",
                        "请先停止服务器，再执行恢复；未作任何改动")(program.language))
            }
            Self.tell(report, from: file, program: program)
        }
    }

    private static func tell(_ report: RestoreReport, from file: String, program: Program) {
        let language = program.language
        let newest = report.newestMilliseconds.map {
            CivilTime.rfc3339(milliseconds: $0, offsetMinutes: report.offsetMinutes)
        }
        let needs = report.needs == 1 ? "1 need" : "\(report.needs) needs"
        var lines: [Phrase] = [
            Phrase(
                "restored the ledger of \(report.name) from \(file): \(needs); "
                    + (newest.map {
                        "its last change is number \(report.sequence) and came at \($0)"
                    } ?? "it holds no changes yet"),
                "已从 \(file) 恢复\(report.name)的账本：\(report.needs) 条需求；"
                    + (newest.map { "最后一处改动为第 \(report.sequence) 处，收到于 \($0)" } ?? "尚无改动"))
        ]
        if let kept = report.keptAs {
            lines.append(Phrase("the former ledger is kept as \(kept)", "原账本保留为 \(kept)"))
        }
        if let carried = report.carriedOver {
            lines += phrases(of: carried)
        } else {
            lines += phrasesWithoutFormer(report)
        }
        lines += [
            Phrase(
                "start the server: devices bring back what they hold when they next sync",
                "请启动服务器：各设备下次同步时会自动补回其保存的内容"),
            Phrase(
                "territories, teams and categories that were imported after the backup come back "
                    + "with the devices that had them; to import them again does no harm",
                "备份之后导入的辖区、队伍和类别由已有这些数据的设备补回；重新导入也无妨"),
        ]
        for line in lines { program.console.note("\(line, language)") }
    }

    private static func phrases(of carried: CarriedOver) -> [Phrase] {
        var phrases = [
            Phrase(
                "taken over from the former ledger, as of after the backup: devices enrolled "
                    + "\(carried.devices), devices revoked \(carried.revocations), codes given out "
                    + "or used \(carried.codes), routes \(carried.routes)",
                "已从原账本接续备份之后的：新登记设备 \(carried.devices)、停用设备 "
                    + "\(carried.revocations)、发出或用过的邀请码 \(carried.codes)、派单路线 \(carried.routes)")
        ]
        if carried.devicesLeftOut > 0 {
            phrases.append(
                Phrase(
                    "devices of the former ledger that could not be taken over and need a new "
                        + "code: \(carried.devicesLeftOut)",
                    "原账本中无法接续、需要新邀请码的设备：\(carried.devicesLeftOut)"))
        }
        return phrases
    }

    private static func phrasesWithoutFormer(_ report: RestoreReport) -> [Phrase] {
        [
            report.keptAs == nil
                ? Phrase(
                    "there was no former ledger to take anything over from",
                    "没有原账本可供接续")
                : Phrase(
                    "the former ledger cannot be read, so nothing was taken over from it",
                    "原账本无法读取，未能接续其内容"),
            Phrase(
                "therefore: devices that were enrolled after the backup need a new code; revoke "
                    + "again those that were revoked after it (see devices); import routes that "
                    + "were imported after it again",
                "因此：备份之后登记的设备需要新的邀请码；备份之后停用的设备需要重新停用（见 devices）；"
                    + "备份之后导入的派单路线需要重新导入"),
            Phrase(
                "codes that were still open in the backup are void, since they may have been used "
                    + "(\(report.endedCodes)); give out new ones",
                "备份中尚未使用的邀请码可能已被用过，现已全部作废（\(report.endedCodes) 个）；请重新发放"),
        ]
    }
}
