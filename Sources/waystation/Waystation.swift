import ArgumentParser
import TerminalUI

/// The terminal client: records needs offline, and syncs when there is signal.
@main
struct Waystation: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "waystation",
        abstract: help("Record what residents need, and sync it.", "记录居民需求，有信号时同步。"),
        discussion: help(
            """
            Everything but enroll and sync works without a network.
            Exit codes: 0 done, 1 failed or check found something, 64 usage, 65 synced but \
            something was refused or set aside, \
            69 server unreachable or TLS failed, 74 disk, 75 try again later, 77 not enrolled or \
            revoked, 130 interrupted.
            """,
            """
            除 enroll 和 sync 外，所有命令都不需要网络。
            退出码：0 完成，1 失败或 check 发现损坏，64 用法错误，65 已同步但有内容被拒或被搁置，69 无法连接服务器或 TLS 失败，\
            74 磁盘错误，75 请稍后再试，77 未登记或已吊销，130 被中断。
            """),
        version: "0.1.0",
        subcommands: [
            EnrollCommand.self, NeedCommand.self, NoteCommand.self, JobCommand.self,
            DispatchCommand.self, ConflictCommand.self, RefusedCommand.self, SyncCommand.self,
            StatusCommand.self, CheckCommand.self,
        ])

    /// As ``ParsableCommand/main(_:)`` does, but for the search of the command.
    static func main() {
        let arguments = Array(CommandLine.arguments.dropFirst())
        do {
            var command = try named(arguments) ?? parseAsRoot(arguments)
            try command.run()
        } catch {
            exit(withError: error)
        }
    }

    /// The command whose words come first, parsed with what follows them by its own declaration,
    /// which is the one that the whole tree would come to.
    ///
    /// So this is no second way to read a command, only a shorter way to it: the tree asks every
    /// command on the way for all of its options first, most of the time that parsing takes.
    ///
    /// - Returns: `nil` when anything is odd about the words or the rest, a wish for help too: that
    ///   is for the whole tree to tell, which knows all names.
    private static func named(_ arguments: [String]) -> (any ParsableCommand)? {
        var named: any ParsableCommand.Type = Self.self
        var rest = arguments[...]
        while let word = rest.first,
            let next = named.configuration.subcommands.first(where: {
                $0.configuration.commandName == word
            })
        {
            named = next
            rest.removeFirst()
        }
        guard named.configuration.subcommands.isEmpty,
            let command = try? named.parseAsRoot(Array(rest)), type(of: command) == named
        else { return nil }
        return command
    }
}

/// Help is written before any flag is parsed, so the language is looked up by hand.
func help(_ english: String, _ chinese: String) -> String {
    Phrase(english, chinese)(Surroundings.languageOfHelp)
}
