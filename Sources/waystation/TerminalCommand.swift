import ArgumentParser
import Glibc
import TerminalUI

/// A command that does something, with the flags that all of these take.
///
/// They stand in each command and not in a group of options: over a group the parser takes longer
/// than over all options of a command (a twelfth of what `need add` takes as a whole).
protocol TerminalCommand: ParsableCommand {
    var noInput: Bool { get }
    var language: String? { get }
}

let noInputHelp = ArgumentHelp(help("Ask nothing, even on a terminal.", "即使在终端中也不提问。"))
let languageHelp = ArgumentHelp(help("en or zh-Hans.", "en 或 zh-Hans。"), valueName: "tag")
/// Of the flag that every command has that reads.
let jsonHelp = ArgumentHelp(help("Print JSON (see README).", "输出 JSON（见 README）。"))

let utf8Hint = Phrase(
    "Set the terminal to UTF-8, for example with LANG=C.UTF-8.",
    "请把终端编码设为 UTF-8，例如 LANG=zh_CN.UTF-8。")

extension TerminalCommand {
    /// Runs a command's body, tells what went wrong in the person's language, and exits honestly.
    func perform(_ body: (Surroundings) throws -> Void) throws {
        let surroundings = try Surroundings(self)
        guard argumentsAreUTF8() else {
            surroundings.console.fail(
                "\(surroundings.text("what was typed is not UTF-8; nothing was done", "输入的内容不是 UTF-8 编码，未做任何操作"))",
                hint: "\(utf8Hint, surroundings.language)")
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
}
