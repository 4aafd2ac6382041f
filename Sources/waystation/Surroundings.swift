import ArgumentParser
import DeviceJournal
import DeviceSync
import Glibc
import NeedModel
import SyncCore
import TerminalUI

/// The flags that every command takes.
struct CommonOptions: ParsableArguments {
    @Flag(help: ArgumentHelp(help("Ask nothing, even on a terminal.", "即使在终端中也不提问。")))
    var noInput = false

    @Option(help: ArgumentHelp(help("en or zh-Hans.", "en 或 zh-Hans。"), valueName: "tag"))
    var language: String?
}

/// Of the flag `--json`, which every command has that reads. It is no group of options, over which
/// the parser takes longer than over all options of a command.
let jsonHelp = ArgumentHelp(help("Print JSON (see README).", "输出 JSON（见 README）。"))

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

    init(_ options: CommonOptions) throws {
        environment = processEnvironment()
        noInput = options.noInput
        do {
            console = Console(
                language: try Language(option: options.language, environment: environment),
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
    var directory: String {
        if let home = environment["WAYSTATION_HOME"], !home.isEmpty { return home }
        if let data = environment["XDG_DATA_HOME"], data.hasPrefix("/") {
            return data + "/waystation"
        }
        return (environment["HOME"] ?? ".") + "/.local/share/waystation"
    }

    var journalPath: String { directory + "/journal.sqlite" }

    func openJournal(creating: Bool = false) throws -> Journal {
        if creating { try createDirectory() }
        return try Journal(path: journalPath, creating: creating)
    }

    private func createDirectory() throws(JournalError) {
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

/// Runs a command's body, tells what went wrong in the person's language, and exits honestly.
func perform(_ options: CommonOptions, _ body: (Surroundings) throws -> Void) throws {
    let surroundings = try Surroundings(options)
    guard argumentsAreUTF8() else {
        surroundings.console.fail(
            "\(surroundings.text("what was typed is not UTF-8; nothing was done", "输入的内容不是 UTF-8 编码，未做任何操作"))",
            hint:
                "\(surroundings.text("Set the terminal to UTF-8, for example with LANG=C.UTF-8.", "请把终端编码设为 UTF-8，例如 LANG=zh_CN.UTF-8。"))"
        )
        throw ExitCode(64)
    }
    do {
        try body(surroundings)
    } catch let code as ExitCode {
        throw code
    } catch let error as ValidationError {
        throw error
    } catch {
        let fault = Fault(error)
        surroundings.console.fail(
            "\(fault.message, surroundings.language)",
            hint: fault.hint.map { "\($0, surroundings.language)" })
        throw ExitCode(fault.exitCode)
    }
    if let fault = surroundings.console.outputFault {
        surroundings.console.fail(
            "\(surroundings.text("the output could not be written", "输出无法写入")): \(fault)")
        throw ExitCode(74)
    }
}
