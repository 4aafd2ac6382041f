import ArgumentParser
import DeviceJournal
import DeviceSync
import Glibc
import NeedModel
import SyncCore
import TerminalUI

/// What surrounds a command: the console, the language, the clock, and where the journal lies.
struct Surroundings {
    let console: Console
    let environment: [String: String]
    let noInput: Bool

    static let languageOfHelp: Language = {
        let arguments = CommandLine.arguments
        var option: String?
        for (index, argument) in arguments.enumerated() {
            if argument.hasPrefix("--language=") { option = String(argument.dropFirst(11)) }
            if argument == "--language", index + 1 < arguments.count {
                option = arguments[index + 1]
            }
        }
        let environment = processEnvironment()
        return (try? Language(option: option, environment: environment))
            ?? Language(environment: environment)
    }()

    init(_ command: some TerminalCommand) throws {
        environment = processEnvironment()
        noInput = command.noInput
        do {
            console = Console(
                language: try Language(option: command.language, environment: environment),
                environment: environment)
        } catch {
            throw ValidationError("\(error.description). \(error.hint)")
        }
    }

    var language: Language { console.language }

    func text(_ english: String, _ chinese: String) -> String {
        Phrase(english, chinese)(language)
    }

    /// `WAYSTATION_HOME`, or the XDG data directory.
    ///
    /// - Throws: Where no home is known: a journal must not lie wherever the person happens to be.
    private func directory() throws(JournalError) -> String {
        if let home = environment["WAYSTATION_HOME"], !home.isEmpty { return home }
        if let data = environment["XDG_DATA_HOME"], data.hasPrefix("/") {
            return data + "/waystation"
        }
        let below = "/.local/share/waystation"
        if let home = environment["HOME"], home.hasPrefix("/") { return home + below }
        guard let user = getpwuid(getuid()), let home = user.pointee.pw_dir else {
            throw .cannotOpen(
                path: "~" + below, detail: "no home directory is known; set WAYSTATION_HOME")
        }
        return String(cString: home) + below
    }

    func openJournal(creating: Bool = false) throws -> Journal {
        let directory = try directory()
        if creating { try create(directory) }
        return try Journal(path: directory + "/journal.sqlite", creating: creating)
    }

    private func create(_ directory: String) throws(JournalError) {
        var path = ""
        for part in directory.split(separator: "/", omittingEmptySubsequences: true) {
            path += (path.isEmpty && !directory.hasPrefix("/") ? "" : "/") + part
            if mkdir(path, 0o700) != 0 && errno != EEXIST {
                switch errno {
                case ENOSPC, EDQUOT: throw .diskFull
                case EACCES, EPERM, EROFS: throw .readOnly(path: path)
                default: throw .cannotOpen(path: path, detail: String(cString: strerror(errno)))
                }
            }
        }
    }

    func clocks() -> ClockReading { SystemClocks.now() }

    /// Whether a question would be answered by a person.
    var mayAsk: Bool { !noInput && console.isInputTerminal && console.isErrorTerminal }
}
