import ArgumentParser
import DeviceJournal
import TerminalUI

struct CheckCommand: TerminalCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", _superCommandName: "waystation",
        abstract: help(
            "Look for damage in what this device holds.", "检查本机保存的内容有无损坏。"),
        discussion: help(
            "Exits with 1 if there is any. Damaged records are fetched again with the next sync.",
            "发现损坏时退出码为 1。损坏的记录会在下次同步时重新取回。"))

    @Flag(help: jsonHelp) var json = false
    @Flag(help: noInputHelp) var noInput = false
    @Option(help: languageHelp) var language: String?

    func run() throws {
        try perform { surroundings in
            let check = try surroundings.openJournal().check()
            let findings = Self.findings(of: check)
            let console = surroundings.console
            if json {
                console.out(
                    .object([
                        ("sound", .bool(check.isSound)),
                        ("findings", .strings(findings.map { $0(.english) })),
                        ("records", .integer(check.recordCount)),
                        ("damaged", .integer(check.damagedCount)),
                        ("damaged_commands", .integer(check.damagedCommandCount)),
                    ]), isPretty: true)
            } else {
                for finding in findings { console.out("\(finding, surroundings.language)") }
            }
            guard check.isSound else { throw ExitCode(1) }
            if !json {
                console.note(
                    "\(Phrase("\(check.recordCount) records, all sound", "共 \(check.recordCount) 条记录，全部完好"), surroundings.language)"
                )
            }
        }
    }

    private static func findings(of check: JournalCheck) -> [Phrase] {
        var findings = check.fileFindings.map { line in
            Phrase(
                "the file is damaged (\(line)); keep a copy of it, and ask the operator",
                "文件已损坏（\(line)）；请保留一份副本并联系管理员")
        }
        if check.damagedCount > 0 {
            let count = check.damagedCount
            findings.append(
                Phrase(
                    "\(count) record\(count == 1 ? " is" : "s are") not as stored; the next sync "
                        + "fetches \(count == 1 ? "it" : "them") again",
                    "\(count) 条记录与保存时不一致；下次同步将重新取回"))
        }
        if check.damagedCommandCount > 0 {
            let count = check.damagedCommandCount
            findings.append(
                Phrase(
                    "\(count) command\(count == 1 ? " that waits" : "s that wait") or \(count == 1 ? "was" : "were") refused "
                        + "\(count == 1 ? "is" : "are") not as stored; after the next sync, "
                        + "waystation refused list shows what can be read of "
                        + "\(count == 1 ? "it" : "them")",
                    "\(count) 项待上传或被拒的内容与保存时不一致；下次同步后可用 waystation refused list 查看尚可读出的部分"))
        }
        if check.isCountOff {
            findings.append(
                Phrase(
                    "records are missing, or too many; the next sync finds out which and mends it",
                    "有记录缺失或多出；下次同步将查明并修复"))
        }
        return findings
    }
}
