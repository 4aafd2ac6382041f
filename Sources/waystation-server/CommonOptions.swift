import ArgumentParser
import Glibc
import HubLedger
import HubServer
import NeedModel
import TerminalUI

/// The options of every command.
struct CommonOptions: ParsableArguments {
    @Option(help: "The ledger's file.")
    var ledger: String?

    @Option(help: "A file of settings; flags and environment go before it.")
    var config: String?

    @Option(help: "en or zh-Hans; the locale decides by default.")
    var language: String?

    /// Runs a command's work, and turns what it throws into words and an exit code.
    func run(
        _ flags: ServerSettings = ServerSettings(), _ work: (Program) async throws -> Void
    ) async throws {
        // Ledgers and backups hold residents' names: what this program makes is its owner's alone.
        umask(0o077)
        let environment = processEnvironment()
        let chosen: Language
        do {
            chosen = try Language(option: language, environment: environment)
        } catch {
            throw ValidationError("\(error.description): \(error.hint)")
        }
        let console = Console(language: chosen, environment: environment)
        do {
            guard argumentsAreUTF8() else {
                throw CommandFailure(
                    .usage,
                    Phrase("what was typed is not UTF-8", "输入的内容不是 UTF-8 编码")(chosen),
                    hint: "LANG=C.UTF-8")
            }
            var settings = flags
            settings.ledger = ledger
            settings = settings.or(ServerSettings(environment: environment))
            if let path = config ?? environment[ServerSettings.fileVariable], !path.isEmpty {
                settings = settings.or(try fileSettings(at: path))
            }
            guard let path = settings.ledger, !path.isEmpty else {
                throw CommandFailure(
                    .usage, Phrase("which ledger?", "哪个数据账本？")(chosen),
                    hint: "--ledger PATH, WAYSTATION_LEDGER=PATH")
            }
            try await work(Program(console: console, settings: settings, ledgerPath: path))
        } catch {
            // Whoever throws an exit code has said why.
            if let code = error as? ExitCode { throw code }
            let failure = CommandFailure(error)
            console.fail(StyledText(failure.message), hint: failure.hint.map { StyledText($0) })
            throw ExitCode(failure.code.rawValue)
        }
        if let fault = console.outputFault {
            let words = Phrase("the output could not be written", "输出无法写入")
            let hint = Phrase(
                "what was asked for is done; look at where the output goes",
                "命令本身已完成；请检查输出的去处")
            console.fail("\(words, chosen): \(fault)", hint: "\(hint, chosen)")
            throw ExitCode(CommandFailure.Code.disk.rawValue)
        }
    }

    private func fileSettings(at path: String) throws -> ServerSettings {
        let text = try InputFile.settings.text(at: path)
        do {
            return try ServerSettings(file: text)
        } catch {
            throw CommandFailure(.usage, "\(path): \(error)", hint: error.hint)
        }
    }
}

/// What a running command works with.
struct Program {
    let console: Console
    let settings: ServerSettings
    let ledgerPath: String

    var language: Language { console.language }

    func openLedger() throws -> Ledger {
        try Ledger(opening: ledgerPath, clock: wallMilliseconds, schema: .current)
    }

    /// A time for people where people read, for programs where they do.
    func time(_ milliseconds: Int64, offsetMinutes: Int) -> String {
        console.isOutputTerminal
            ? CivilTime.relative(
                milliseconds: milliseconds, now: wallMilliseconds(), language: language)
            : CivilTime.rfc3339(milliseconds: milliseconds, offsetMinutes: offsetMinutes)
    }
}

/// A command that does not succeed: its exit code, what happened, and what to do.
struct CommandFailure: Error {
    enum Code: Int32 {
        case failed = 1
        case usage = 64
        case data = 65
        case disk = 74
        case busy = 75
    }

    var code: Code
    var message: String
    var hint: String?

    init(_ code: Code, _ message: String, hint: String? = nil) {
        self.code = code
        self.message = message
        self.hint = hint
    }

    /// Whatever a command may throw.
    init(_ error: any Error) {
        switch error {
        case let failure as CommandFailure:
            self = failure
        case let error as LedgerError:
            let code: Code =
                switch error {
                case .busy: .busy
                case .disk: .disk
                case .row, .invalid: .data
                case .file, .damaged, .notFound, .codeUnknown, .codeUsed, .codeExpired,
                    .tokenUnknown, .revoked, .forbidden:
                    .failed
                }
            self.init(code, error.description, hint: error.hint)
        case let error as HubStartError:
            let code: Code =
                switch error {
                case .alreadyServed: .busy
                case .address: .usage
                case .lock: .disk
                case .listen, .certificate: .failed
                }
            self.init(code, error.description, hint: error.hint)
        default:
            self.init(.failed, "\(error)")
        }
    }
}
